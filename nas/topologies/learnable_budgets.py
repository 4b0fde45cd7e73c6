"""Segments that learn how much of their wiring they spend on each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.registry import register
from nas.topologies._alternatives import Alternatives
from nas.topologies._candidates import candidates
from nas.topologies._graphs import Ends
from nas.topologies._learnable import LearnableTopology
from nas.topologies._topology import check_size


@register("topology", "learnable_budgets")
@dataclass(frozen=True)
class LearnableBudgets(LearnableTopology):
    """`learnable_watts_strogatz` with one learned share for every pair of segments: a budget matrix.

    Every unit has `k` sources on the ring of its own segment. Each of these edges may move to a random
    unit of any other segment; which share of a segment's edges moves to which other one is learned,
    and so is the share that stays. Without segments, or with a single one, there is nothing to learn
    and the graph is the lattice. A segment of at most `k` units is wired completely, and an edge for
    which another segment has no unit left stays, whatever its budget.

    Args:
        k: Sources of each output unit, at least 1.
        beta: Share of the edges that leave their segment where the search starts, the same for all
            segments, and divided equally among the others.

    Raises:
        ValueError: `k` is below 1 or `beta` is not strictly between 0 and 1; on `edges`, a unit has
            fewer than `k` possible sources.
    """

    def candidates(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Alternatives:
        """A source in every other segment, in their order, and one on the lattice; one group per segment."""
        check_size("learnable_budgets", out_features, in_features)
        ring = candidates(out_features, in_features, self.k, segments, seed)
        sizes = np.array([out_features] if segments is None else segments)
        group = np.repeat(np.arange(len(sizes)), sizes)[ring.target]
        sources, uniform = np.tile(ring.lattice, (len(sizes), 1)), np.empty(len(group))
        rng = np.random.default_rng((seed, 1))  # another stream than that of the ring
        for segment in range(len(sizes)):
            edges = np.flatnonzero(group == segment)
            fan_in = len(edges) // sizes[segment]
            uniform[edges] = (rng.permutation(len(edges)) + 0.5) / max(len(edges), 1)
            for candidate, other in enumerate(np.delete(np.arange(len(sizes)), segment)):
                drawn = _distinct(sizes[segment], fan_in, sizes[other], rng).ravel()
                there = drawn + sizes[:other].sum()
                sources[candidate, edges] = np.where(drawn < 0, ring.lattice[edges], there)
        shares = np.full((len(sizes), len(sizes)), self.beta / max(len(sizes) - 1, 1))
        shares[:, -1] = 1 - self.beta
        return Alternatives(out_features, in_features, ring.target, sources, group, uniform, shares)


def _distinct(rows: int, count: int, units: int, rng: np.random.Generator) -> Ends:
    """In each row `count` distinct uniform units in random order, shape `(rows, count)`; −1 beyond `units`.

    Robert Floyd's algorithm (Bentley and Floyd, CACM 30, 1987), on all rows at once.
    """
    chosen = np.full((rows, count), -1)
    for slot, last in enumerate(range(max(units - count, 0), units)):
        drawn = rng.integers(last + 1, size=rows)
        taken = (chosen[:, :slot] == drawn[:, None]).any(axis=1)
        chosen[:, slot] = np.where(taken, last, drawn)
    return rng.permuted(chosen, axis=1)
