"""Two candidate sources for every edge of a layer of constant fan-in: its lattice's, and a random one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.topologies._edges import Edges, check_segments
from nas.topologies._graphs import Ends, contains
from nas.topologies._topology import check_size

# Up to this many inputs per slot, ranking all of them costs less than drawing again and again.
RANKED = 8


@dataclass(frozen=True, eq=False)
class Candidates:
    """For every edge a lattice source, a random source and the beta at which it moves to the latter.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        target: Output unit of every edge, ascending, int64 of shape `(E,)`.
        lattice: Lattice source of every edge, shape `(E,)`.
        random: Random source, distinct within the row and not in its lattice, shape `(E,)`; the
            lattice source itself where no other unit is left.
        uniform: `(π(e) + ½) / E` with a random permutation π, shape `(E,)`.
    """

    out_features: int
    in_features: int
    target: Ends
    lattice: Ends
    random: Ends
    uniform: NDArray[np.float64]

    def sources(self, beta: float) -> Ends:
        """Source of every edge at `beta`, in the order of the candidates, shape `(E,)`."""
        return np.where(self.uniform < beta, self.random, self.lattice)

    def at(self, beta: float) -> Edges:
        """The exact graph at `beta`; graphs are nested: an edge that has moved stays moved at larger beta."""
        return Edges(self.out_features, self.in_features, self.target, self.sources(beta))


def candidates(
    out_features: int,
    in_features: int,
    k: int,
    segments: Sequence[int] | None,
    seed: int,
) -> Candidates:
    """Candidates of a layer in which every output unit has `k` sources.

    The lattice of output unit o is `⌊o·n_in/n_out⌋ + j − ⌊k/2⌋` modulo `n_in`, j < k; that of a square
    layer leaves out the unit itself and reaches one further. With segments it runs inside the segment
    of the unit, which has fewer sources if its segment has fewer units.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        k: Sources of each output unit.
        segments: Sizes of the segments of a square layer, or `None`.
        seed: Seed of the random sources and of the permutation.

    Raises:
        ValueError: A side has no units, there are fewer than `k` inputs to choose from, or the
            segments do not divide the units of a square layer.
    """
    check_size("fan_in_small_world", out_features, in_features)
    skip_self = out_features == in_features
    if k > in_features - skip_self:
        most = in_features - skip_self
        raise ValueError(
            f"a unit has {most} possible sources, not k = {k}; pass k of at most {most}, or widen the layer"
        )
    if segments is not None:
        check_segments(segments, out_features, in_features)
    rng = np.random.default_rng(seed)
    fan_in = np.full(out_features, k)
    target, lattice = ring_sources(out_features, in_features, fan_in, segments, skip_self)
    ranked = in_features <= RANKED * k
    draw = _ranked_sources if ranked else _drawn_sources
    random = draw(target, lattice, out_features, in_features, skip_self, rng)
    uniform = (rng.permutation(len(target)) + 0.5) / len(target)
    return Candidates(out_features, in_features, target, lattice, random, uniform)


def ring_sources(
    out_features: int, in_features: int, fan_in: Ends, segments: Sequence[int] | None, skip_self: bool
) -> tuple[Ends, Ends]:
    """Targets, ascending, and the `fan_in[o]` sources nearest to output unit o on the ring of its segment.

    A unit has at most as many sources as its segment has units, itself left out with `skip_self`.
    """
    output = np.arange(out_features)
    centre, size, start = output * in_features // out_features, np.full(out_features, in_features), 0 * output
    if segments is not None:
        size = np.repeat(np.asarray(segments, dtype=np.int64), segments)
        start = np.repeat(np.cumsum(segments) - segments, segments)
    fan_in = np.minimum(fan_in, size - skip_self)
    target = np.repeat(output, fan_in)
    offset = np.arange(len(target)) - np.repeat(np.cumsum(fan_in) - fan_in, fan_in) - fan_in[target] // 2
    if skip_self:
        offset += offset >= 0
    return target, start[target] + ((centre - start)[target] + offset) % size[target]


def _drawn_sources(
    target: Ends,
    lattice: Ends,
    out_features: int,
    in_features: int,
    skip_self: bool,
    rng: np.random.Generator,
) -> Ends:
    taken = np.sort(target * in_features + lattice)
    waiting, random = np.arange(len(target)), np.empty_like(lattice)
    while waiting.size:
        drawn = rng.integers(in_features, size=waiting.size)
        keys = target[waiting] * in_features + drawn
        free = ~contains(taken, keys) & _first(keys)
        if skip_self:
            free &= drawn != target[waiting]
        random[waiting[free]] = drawn[free]
        taken = np.sort(np.concatenate([taken, keys[free]]))
        waiting = waiting[~free]
    return random


def _ranked_sources(
    target: Ends,
    lattice: Ends,
    out_features: int,
    in_features: int,
    skip_self: bool,
    rng: np.random.Generator,
) -> Ends:
    """In a random order of all inputs, lattice last, the first ones; the lattice's own beyond them."""
    priority = rng.random((out_features, in_features))
    priority[target, lattice] = 2
    if skip_self:
        np.fill_diagonal(priority, 2)
    ranked = np.argsort(priority, axis=1)
    slot = np.arange(len(target)) - np.searchsorted(target, target)
    left = in_features - skip_self - np.bincount(target, minlength=out_features)[target]
    return np.where(slot < left, ranked[target, np.minimum(slot, in_features - 1)], lattice)


def _first(keys: Ends) -> NDArray[np.bool_]:
    order = np.argsort(keys, kind="stable")
    first = np.ones(len(keys), dtype=bool)
    first[order[1:]] = keys[order[1:]] != keys[order[:-1]]
    return first
