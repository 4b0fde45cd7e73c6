"""Measures of a wiring: how clustered it is, how short its paths are, how far it is from a lattice.

A square layer is measured as the undirected graph of its units: an edge either way joins two units,
an edge of a unit to itself does not count. A rectangular layer is measured as the bipartite graph
of its inputs and outputs; it has no triangles, so its clustering is the 4-cycle coefficient.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.topologies._candidates import ring_sources
from nas.topologies._edges import Edges
from nas.topologies._graphs import Ends, contains, distinct, sorted_unique

EXACT_UNITS = 1024  # up to here paths start at every unit
SOURCES = 64  # beyond, at so many: one bit each of a machine word
CHUNK = 2**20  # two-step walks held at once


def measure(edges: Edges, segments: Sequence[int] | None = None, seed: int = 0) -> dict[str, Any]:
    """All measures of a wiring, as plain values for a JSON file; `None` where one is not defined.

    With N units, M pairs that are joined, mean degree d = 2M/N, clustering C and path length L:

    - `graph`: `undirected` (square layer) or `bipartite` (rectangular one).
    - `units`, `edges`, `density`: N; edges of the layer; their share of its positions.
    - `clustering`: mean over the units of the share of joined pairs of neighbours (Watts & Strogatz
      1998; 0 for units with fewer than two). Bipartite: 4 · 4-cycles / paths of three edges (Robins &
      Alexander 2004).
    - `path_length`: mean number of steps between two units that can reach each other, from all units
      or, beyond `EXACT_UNITS` of them, from 64 random ones (`path_sources`); `unreachable` is the
      share of the pairs that cannot.
    - `sigma` = (C/C_rand)/(L/L_rand) (Humphries & Gurney 2008): well above 1 in a small world.
    - `omega` = L_rand/L − C/C_lattice (Telesford et al. 2011): near −1 lattice, 0 small world, 1 random.
    - `connected`: share of the units in the largest component.
    - `degree_histogram`: number of units of degree 0, 1, 2 …
    - `shares`, `cross_modal_share`: `Edges.shares` of the segments; what is off its diagonal.

    The references of the undirected graph are formulas: C_rand = d/(N−1), L_rand = (ln N − γ)/ln d + ½
    (Fronczak et al. 2004, for d > 1), C_lattice = 3(d−2)/(4(d−1)) (for 2 < d < 2N/3). Those of the
    bipartite graph: C_rand is its density, L_rand is measured on a uniform graph of as many
    edges, C_lattice on the evenly spread ring lattice of as many edges.

    Args:
        edges: The wiring.
        segments: Sizes of the segments of a square layer.
        seed: Seed of the sampled sources and of the random reference.

    Raises:
        ValueError: The segments do not divide the units of a square layer.
    """
    square = edges.out_features == edges.in_features
    graph = _unit_graph(edges) if square else _bipartite_graph(edges)
    clustering = _clustering(graph) if square else _four_cycles(graph, edges.in_features)
    path_length, unreachable, sources = _paths(graph, seed)
    reference = _formulas(graph) if square else _reference_graphs(edges, seed)
    shares = None if segments is None else edges.shares(segments)
    return {
        "graph": "undirected" if square else "bipartite",
        "units": graph.units,
        "edges": len(edges),
        "density": edges.density,
        "clustering": clustering,
        "path_length": path_length,
        "path_sources": sources,
        "unreachable": unreachable,
        "sigma": _sigma(clustering, path_length, reference),
        "omega": _omega(clustering, path_length, reference),
        "connected": _largest_component(graph) / graph.units,
        "degree_histogram": np.bincount(graph.degree).tolist(),
        "shares": None if shares is None else shares.tolist(),
        "cross_modal_share": None if shares is None else float(shares.sum() - shares.trace()),
    }


@dataclass(frozen=True, eq=False)
class _Graph:
    """Directed edges ordered by their start; both directions of every pair, unless oriented."""

    units: int
    starts: Ends
    ends: Ends

    @cached_property
    def degree(self) -> Ends:
        return np.bincount(self.starts, minlength=self.units)

    @cached_property
    def first(self) -> Ends:
        """Place of the first edge of every unit."""
        return np.cumsum(self.degree) - self.degree


@dataclass(frozen=True)
class _Reference:
    random_clustering: float
    random_path_length: float | None
    lattice_clustering: float


def _unit_graph(edges: Edges) -> _Graph:
    units, off = edges.in_features, edges.target != edges.source
    target, source = edges.target[off], edges.source[off]
    return _from_keys(units, np.concatenate([target * units + source, source * units + target]))


def _bipartite_graph(edges: Edges) -> _Graph:
    units, target = edges.in_features + edges.out_features, edges.target + edges.in_features
    return _from_keys(units, np.concatenate([target * units + edges.source, edges.source * units + target]))


def _from_keys(units: int, keys: Ends) -> _Graph:
    keys = sorted_unique(keys)
    return _Graph(units, keys // units, keys % units)


def _clustering(graph: _Graph) -> float:
    # Every triangle is met once if edges point from units of lower to units of higher degree.
    rank = np.empty(graph.units, dtype=np.int64)
    rank[np.argsort(graph.degree, kind="stable")] = np.arange(graph.units)
    starts, ends = rank[graph.starts], rank[graph.ends]
    keys = np.sort((starts * graph.units + ends)[starts < ends])
    oriented = _Graph(graph.units, keys // graph.units, keys % graph.units)
    triangles = np.zeros(graph.units, dtype=np.int64)
    for one, between, other in _two_steps(oriented):
        closed = contains(keys, one * graph.units + other)
        for corner in (one, between, other):
            triangles += np.bincount(corner[closed], minlength=graph.units)
    degree = np.sort(graph.degree)
    pairs = degree * (degree - 1) / 2
    return float(np.divide(triangles, pairs, out=np.zeros(graph.units), where=pairs > 0).mean())


def _four_cycles(graph: _Graph, in_features: int) -> float | None:
    """4 · 4-cycles / paths of three edges; `None` without such paths."""
    paths = int(((graph.degree[graph.starts] - 1) * (graph.degree[graph.ends] - 1)).sum()) // 2
    if not paths:
        return None
    cycles = 0
    inputs = np.flatnonzero(graph.starts < in_features)
    for one, _, other in _two_steps(graph, inputs):
        keys = np.sort((one * graph.units + other)[one < other])
        run_starts = np.flatnonzero(np.diff(keys, prepend=-1))
        common = np.diff(run_starts, append=len(keys))
        cycles += int((common * (common - 1) // 2).sum())
    return 4 * cycles / paths


def _two_steps(graph: _Graph, edges: Ends | None = None) -> Iterator[tuple[Ends, Ends, Ends]]:
    """The walks of two edges, those of one start together, about `CHUNK` at once."""
    starts, middles = graph.starts, graph.ends
    if edges is not None:
        starts, middles = starts[edges], middles[edges]
    onward = graph.degree[middles]
    chunk = np.cumsum(onward) // CHUNK
    # A start belongs to the chunk of its first edge.
    chunk = chunk[np.searchsorted(starts, starts)]
    for at in np.split(np.arange(len(starts)), np.flatnonzero(np.diff(chunk)) + 1):
        counts = onward[at]
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        between = np.repeat(middles[at], counts)
        yield np.repeat(starts[at], counts), between, graph.ends[graph.first[between] + place]


def _paths(graph: _Graph, seed: int) -> tuple[float | None, float, int]:
    """Mean path length of the pairs that reach each other, share of those that do not, number of sources."""
    every = graph.units <= EXACT_UNITS
    rng = np.random.default_rng(seed)
    sources = np.arange(graph.units) if every else distinct(graph.units, SOURCES, rng)
    steps = reached = 0
    for batch in range(0, len(sources), SOURCES):
        for distance, arrived in _arrivals(graph, sources[batch : batch + SOURCES]):
            steps += distance * arrived
            reached += arrived
    pairs = len(sources) * (graph.units - 1)
    return (steps / reached if reached else None), (1 - reached / pairs if pairs else 0.0), len(sources)


def _arrivals(graph: _Graph, sources: Ends) -> Iterator[tuple[int, int]]:
    """For every distance how many units are first reached, over up to 64 sources at once."""
    linked = np.flatnonzero(graph.degree)
    first = graph.first[linked]
    seen = np.zeros(graph.units, dtype=np.uint64)
    seen[sources] = np.uint64(1) << np.arange(len(sources), dtype=np.uint64)
    front, distance = seen.copy(), 0
    while linked.size:
        distance += 1
        arriving = np.zeros_like(seen)
        arriving[linked] = np.bitwise_or.reduceat(front[graph.ends], first)
        front = arriving & ~seen
        arrived = int(np.bitwise_count(front).sum(dtype=np.int64))
        if not arrived:
            return
        seen |= front
        yield distance, arrived


def _largest_component(graph: _Graph) -> int:
    linked = np.flatnonzero(graph.degree)
    label = np.arange(graph.units)
    while linked.size:
        lowest = label.copy()
        lowest[linked] = np.minimum(
            label[linked], np.minimum.reduceat(label[graph.ends], graph.first[linked])
        )
        np.minimum.at(lowest, label, lowest.copy())  # a whole component follows its luckiest unit
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            break
        label = lowest
    return int(np.bincount(label).max())


def _formulas(graph: _Graph) -> _Reference:
    degree = len(graph.starts) / graph.units
    # In a denser lattice neighbours meet around the ring as well.
    sparse = 2 < degree < 2 * graph.units / 3
    lattice = 3 * (degree - 2) / (4 * (degree - 1)) if sparse else 0.0
    path = (math.log(graph.units) - np.euler_gamma) / math.log(degree) + 0.5 if degree > 1 else None
    return _Reference(degree / max(graph.units - 1, 1), path, lattice)


def _reference_graphs(edges: Edges, seed: int) -> _Reference:
    out_features, in_features, count = edges.out_features, edges.in_features, len(edges)
    keys = distinct(out_features * in_features, count, np.random.default_rng([seed, 1]))
    uniform = Edges(out_features, in_features, keys // in_features, keys % in_features)
    wide, narrow = max(out_features, in_features), min(out_features, in_features)
    fan: NDArray[np.int64] = np.diff(np.arange(wide + 1) * count // wide)
    one, other = ring_sources(wide, narrow, fan, None, skip_self=False)
    lattice = _four_cycles(_bipartite_graph(Edges(wide, narrow, one, other)), narrow)
    return _Reference(edges.density, _paths(_bipartite_graph(uniform), seed)[0], lattice or 0.0)


def _sigma(clustering: float | None, path_length: float | None, reference: _Reference) -> float | None:
    if clustering is None or not path_length or not reference.random_clustering:
        return None
    if reference.random_path_length is None:
        return None
    return (clustering / reference.random_clustering) / (path_length / reference.random_path_length)


def _omega(clustering: float | None, path_length: float | None, reference: _Reference) -> float | None:
    if clustering is None or not path_length or not reference.lattice_clustering:
        return None
    if reference.random_path_length is None:
        return None
    return reference.random_path_length / path_length - clustering / reference.lattice_clustering
