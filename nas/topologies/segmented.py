"""A lattice inside each segment, and a chosen share of edges between segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_even, check_share
from nas.registry import register
from nas.space.domains import Float, Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import Ends, distinct, lattice
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "segmented")
@dataclass(frozen=True)
class Segmented:
    """A ring lattice inside each segment, a share `across` of its edges replaced by uniform cross edges.

    The share is exact to within one edge, unless there are fewer pairs of units of different segments
    than it asks for: then all of them are edges. Without segments it is the ring lattice. A segment of at
    most `k` units starts as the complete graph.

    Args:
        k: Neighbours of each unit on the lattice, half of them on each side; even, at least 2.
        across: Share of the edges that run between segments.

    Raises:
        ValueError: `k` is odd or below 2, or `across` is not within [0, 1]; on `edges`, the layer is
            not square or has at most `k` units.
    """

    domains: ClassVar = {"k": Int(2, 16, step=2), "across": Float(0.0, 1.0, fusible=True)}
    rectangular: ClassVar[bool] = False

    k: int = 4
    across: float = 0.2

    def __post_init__(self) -> None:
        check_even("k", self.k)
        check_share("across", self.across)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: `k` per unit on average, both directions of each pair."""
        sizes = segment_sizes("segmented", out_features, in_features, segments)
        check_degree("segmented", self.k, in_features)
        rng = np.random.default_rng(seed)
        one, other = lattice(sizes, self.k)
        # How many units are in earlier segments, for each unit.
        before: Ends = np.repeat(np.cumsum(sizes, dtype=np.int64) - sizes, sizes)
        count = min(round(self.across * len(one)), int(before.sum()))
        inside = distinct(len(one), len(one) - count, rng)
        cross = _cross_pairs(before, count, rng)
        one, other = np.concatenate([one[inside], cross[0]]), np.concatenate([other[inside], cross[1]])
        return Edges.undirected(in_features, one, other)


def _cross_pairs(before: Ends, count: int, rng: np.random.Generator) -> tuple[Ends, Ends]:
    """`count` distinct uniform pairs of units of different segments."""
    pairs_up_to = np.cumsum(before)
    ranks = distinct(int(pairs_up_to[-1]), count, rng)
    later = np.searchsorted(pairs_up_to, ranks, side="right")
    return ranks - (pairs_up_to - before)[later], later
