"""Time to generate graphs, beside networkx and, where it is installed, igraph (`pip install igraph`).

One JSON line per figure; the generators take turns. `ratio` is time of theirs / time of ours. Ours
gives the ordered edge arrays of a layer, theirs a graph object of their own.

    python benchmarks/graph_generation.py [--quick]
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median

import networkx as nx

from nas.registry import create
from nas.topologies import measure


def race(steps: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round, which is its seed; one unmeasured round first."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step(turn)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(figure: str, units: int, seconds: dict[str, list[float]], **settings: float) -> None:
    ours = seconds["ours"]
    line: dict[str, object] = {"figure": figure, "units": units, **settings, "rounds": len(ours)}
    for name, times in seconds.items():
        line[f"{name}_s"] = round(median(times), 4)
        line[f"{name}_range_s"] = [round(min(times), 4), round(max(times), 4)]
        if name != "ours":
            line[f"ratio_{name}"] = round(median(times) / median(ours), 2)
    print(json.dumps(line), flush=True)


def watts_strogatz(units: int, k: int, beta: float, rounds: int, with_networkx: bool) -> None:
    ours = create("topology", "watts_strogatz", k=k, beta=beta)
    steps: dict[str, Callable[[int], object]] = {"ours": lambda s: ours.edges(units, units, seed=s)}
    if with_networkx:
        steps["networkx"] = lambda s: nx.watts_strogatz_graph(units, k, beta, seed=s)
    if find_spec("igraph"):
        import igraph

        steps["igraph"] = lambda s: igraph.Graph.Watts_Strogatz(1, units, k // 2, beta)
    report("watts_strogatz", units, race(steps, rounds), k=k, beta=beta)


def barabasi_albert(units: int, m: int, rounds: int) -> None:
    ours = create("topology", "barabasi_albert", m=m)
    steps: dict[str, Callable[[int], object]] = {
        "ours": lambda s: ours.edges(units, units, seed=s),
        "networkx": lambda s: nx.barabasi_albert_graph(units, m, seed=s),
    }
    report("barabasi_albert", units, race(steps, rounds), m=m)


def measures(units: int, k: int, rounds: int) -> None:
    """All measures of ours, beside the clustering alone of networkx."""
    edges = create("topology", "watts_strogatz", k=k, beta=0.1).edges(units, units, seed=0)
    graph = nx.Graph(zip(edges.target.tolist(), edges.source.tolist(), strict=True))
    steps = {"ours": lambda s: measure(edges, seed=s), "networkx": lambda s: nx.average_clustering(graph)}
    report("measure", units, race(steps, rounds), k=k)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the units, and not the million")
    quick = parser.parse_args().quick
    units = 10_000 if quick else 100_000
    for beta in (0.0, 0.1, 0.5, 1.0):
        watts_strogatz(units, 10, beta, 5, with_networkx=True)
    barabasi_albert(units, 5, 5)
    measures(10_000, 10, 5)
    if not quick:
        watts_strogatz(1_000_000, 10, 0.1, 5, with_networkx=False)


if __name__ == "__main__":
    main()
