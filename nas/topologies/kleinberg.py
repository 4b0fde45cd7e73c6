"""The navigable small world of Kleinberg, on a ring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_even, check_not_negative
from nas.registry import register
from nas.space.domains import Float, Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import Ends, add_ends, lattice
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "kleinberg")
@dataclass(frozen=True)
class Kleinberg:
    """A ring lattice plus one long contact per unit, each unit at distance d with probability ∝ d^(−r).

    Kleinberg (2000) on a ring instead of a grid: r = 0 draws contacts uniformly, r = 1 is the
    navigable case, larger r stays local. Distances run along the ring of all units, beyond the
    lattice. With segments the lattice runs inside each of them; a segment of at most `k` units is
    the complete graph. A contact that finds no free place, in a nearly complete graph, is left out.

    Args:
        k: Neighbours of each unit on the lattice, half of them on each side; even, at least 2.
        r: Exponent of the distance, at least 0.

    Raises:
        ValueError: `k` is odd or below 2, or `r` is below 0; on `edges`, the layer is not square or
            has at most `k` units.
    """

    domains: ClassVar = {"k": Int(2, 16, step=2), "r": Float(0.0, 3.0, fusible=True)}
    rectangular: ClassVar[bool] = False

    k: int = 4
    r: float = 1.0

    def __post_init__(self) -> None:
        check_even("k", self.k)
        check_not_negative("r", self.r)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: `k + 2` per unit on average, both directions of each pair."""
        sizes = segment_sizes("kleinberg", out_features, in_features, segments)
        check_degree("kleinberg", self.k, in_features)
        one, other = lattice(sizes, self.k)
        distances = np.arange(self.k // 2 + 1, in_features // 2 + 1)
        if not distances.size:
            return Edges.undirected(in_features, one, other)
        rng = np.random.default_rng(seed)
        odds = (distances / distances[0]) ** -float(self.r)
        odds[2 * distances == in_features] /= 2  # one unit stands opposite, not two
        cumulative = np.cumsum(odds)

        def draw(starts: Ends) -> Ends:
            shares = rng.random(starts.size) * cumulative[-1]
            steps = distances[np.searchsorted(cumulative[:-1], shares, side="right")]
            signs = rng.choice([-1, 1], size=starts.size)
            return np.asarray((starts + signs * steps) % in_features)

        return Edges.undirected(in_features, *add_ends(one, other, np.arange(in_features), in_features, draw))
