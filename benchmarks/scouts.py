"""What networks that are built and never trained tell a search of the sizes in its space.

    python benchmarks/scouts.py --repeats 5

For each of the experiments: the share of the variance of log parameters, over 200 other networks, that
the surrogate of `evolution` explains after 20 trials, with and without the 64 scouts that it asks for;
medians over the repeats with the least and the most, and the milliseconds that a scout costs. One JSON
line per experiment.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.samplers._surrogate import Encoder, GaussianProcess, distances
from nas.search.samplers.evolution import Evolution
from nas.search.setup import prepare
from nas.space import Architecture

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = ("ws", "evolving_wiring", "catalogue")
TRIALS, OTHERS = 20, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--experiments", nargs="+", default=list(NAMES))
    arguments = parser.parse_args()
    for name in arguments.experiments:
        print(json.dumps({"experiment": name} | figures(name, arguments.repeats)), flush=True)


def figures(name: str, repeats: int) -> dict[str, Any]:
    """What is explained with and without scouts, and what they cost."""
    objectives = "objectives={accuracy: maximize, parameters: minimize}"
    setup = prepare(EXPERIMENTS / f"{name}.yaml", [objectives])
    scouts = Evolution().scouts
    rng = np.random.default_rng(0)
    networks = [setup.space.sample(rng) for _ in range(repeats * (TRIALS + scouts) + OTHERS)]
    started = time.process_time()
    sizes = np.log([setup.proposals.exact(network)["parameters"] for network in networks])
    seconds = time.process_time() - started
    points = _points(setup.space, networks)
    explained: dict[str, list[float]] = {"without": [], "with": []}
    for repeat in range(repeats):
        start = OTHERS + repeat * (TRIALS + scouts)
        for way, count in (("without", TRIALS), ("with", TRIALS + scouts)):
            known = slice(start, start + count)
            share = _explained(points[known], sizes[known], points[:OTHERS], sizes[:OTHERS])
            explained[way].append(share)
    return {way: _spread(shares) for way, shares in explained.items()} | {
        "decisions": len(dict(setup.space.domains())),
        "ms_per_scout": round(1000 * seconds / len(networks), 1),
    }


def _points(space: Any, networks: list[Architecture]) -> NDArray[np.float64]:
    found = [space.decisions(network) for network in networks]
    return Encoder(space)([{path: value for path, (_, value) in one.items()} for one in found])


def _explained(
    points: NDArray[np.float64],
    sizes: NDArray[np.float64],
    others: NDArray[np.float64],
    theirs: NDArray[np.float64],
) -> float:
    """1 - the mean squared error of what is predicted for the others, over their variance."""
    predicted, _ = GaussianProcess(distances(points, points), sizes).predict(distances(others, points))
    return float(1 - ((predicted - theirs) ** 2).mean() / theirs.var())


def _spread(shares: list[float]) -> list[float]:
    """Median, least and most."""
    return [round(float(value), 2) for value in (np.median(shares), min(shares), max(shares))]


if __name__ == "__main__":
    main()
