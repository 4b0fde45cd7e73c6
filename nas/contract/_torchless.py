"""Points of the contract of topologies and of the parts of a search."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nas.contract._cases import SEGMENTS, Case
from nas.topologies import Edges


def _edges_fit(case: Case) -> Iterator[str]:
    units = sum(SEGMENTS)
    for segments in (None, SEGMENTS):
        yield from _edge_faults(case.build().edges(units, units, segments=segments, seed=0), units, units)
    try:
        rectangular = case.build().edges(units // 2, units, seed=0)
    except ValueError:
        return  # a topology of a square graph may refuse
    yield from _edge_faults(rectangular, units // 2, units)


def _edge_faults(edges: Any, out_features: int, in_features: int) -> Iterator[str]:
    if not isinstance(edges, Edges):
        yield f"`edges` returns a {type(edges).__name__}, not nas.Edges"
        return
    if (edges.out_features, edges.in_features) != (out_features, in_features):
        yield f"edges {edges.out_features}×{edges.in_features} given, {out_features}×{in_features} asked for"
    if out_features == in_features and (edges.source == edges.target).any():
        yield "a unit is linked to itself"
    if len(np.unique(edges.target * in_features + edges.source)) < len(edges):
        yield "an edge is given twice"


def _edges_follow_the_seed(case: Case) -> Iterator[str]:
    units = sum(SEGMENTS)
    for segments in (None, SEGMENTS):
        one, other = (case.build().edges(units, units, segments=segments, seed=3) for _ in range(2))
        if one != other:
            yield "the same seed gives different edges; draw from np.random.default_rng(seed)"


def _has_method(name: str) -> Callable[[Case], Iterator[str]]:
    def point(case: Case) -> Iterator[str]:
        if not callable(getattr(case.build(), name, None)):
            yield f"it has no method {name!r}"

    return point


def _measures(case: Case) -> Iterator[str]:
    objective = case.build()
    direction, cheap = getattr(objective, "direction", None), getattr(objective, "cheap", None)
    if direction not in ("maximize", "minimize"):
        yield f"`direction` must be 'maximize' or 'minimize', not {direction!r}"
    if not isinstance(cheap, bool):
        yield f"`cheap` must be true or false (known before training?), not {cheap!r}"
    if not callable(objective):
        yield "it cannot be called with the evaluation context"


TOPOLOGY_POINTS = {
    "its edges fit the layer": _edges_fit,
    "its edges follow the seed": _edges_follow_the_seed,
}
OBJECTIVE_POINTS = {"measures": _measures}
REWIRING_POINTS = {"rewires": _has_method("step")}
SAMPLER_POINTS = {"proposes": _has_method("propose")}
PRUNER_POINTS = {"decides": _has_method("stops")}
LOGGER_POINTS = {f"is told of {name}": _has_method(name) for name in ("begin", "epoch", "ended", "close")}
