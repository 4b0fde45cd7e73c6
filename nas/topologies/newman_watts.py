"""The small world of Newman and Watts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_even, check_share
from nas.registry import register
from nas.space.domains import Float, Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import add_ends, lattice, uniform_ends
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "newman_watts")
@dataclass(frozen=True)
class NewmanWatts:
    """A ring lattice plus, for each of its edges with probability `beta`, a shortcut (Newman & Watts 1999).

    The shortcut starts where the lattice edge does and ends at a uniform unit. With segments the
    lattice runs inside each of them and shortcuts end anywhere; a segment of at most `k` units is
    the complete graph. A shortcut that finds no free place, in a nearly complete graph, is left out.

    Args:
        k: Neighbours of each unit on the lattice, half of them on each side; even, at least 2.
        beta: Probability of a shortcut per lattice edge.

    Raises:
        ValueError: `k` is odd or below 2, or `beta` is not within [0, 1]; on `edges`, the layer is
            not square or has at most `k` units.
    """

    domains: ClassVar = {"k": Int(2, 16, step=2), "beta": Float(0.0, 1.0)}
    rectangular: ClassVar[bool] = False

    k: int = 4
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_even("k", self.k)
        check_share("beta", self.beta)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: `k · (1 + beta)` per unit on average."""
        sizes = segment_sizes("newman_watts", out_features, in_features, segments)
        check_degree("newman_watts", self.k, in_features)
        rng = np.random.default_rng(seed)
        one, other = lattice(sizes, self.k)
        starts = one[rng.random(len(one)) < self.beta]
        ends = add_ends(one, other, starts, in_features, lambda from_: uniform_ends(from_, in_features, rng))
        return Edges.undirected(in_features, *ends)
