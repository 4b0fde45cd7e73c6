"""The small world of Watts and Strogatz."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_even, check_share
from nas.registry import register
from nas.space.domains import Float, Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import lattice, move_ends
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "watts_strogatz")
@dataclass(frozen=True)
class WattsStrogatz:
    """A ring lattice whose edges keep one end and move the other to a uniform unit (Watts & Strogatz 1998).

    The number of edges does not depend on `beta`. With segments the lattice runs inside each of
    them and the moved ends fall anywhere; a segment of at most `k` units starts as the complete
    graph. In a nearly complete graph an edge that finds no free place stays.

    Args:
        k: Neighbours of each unit on the lattice, half of them on each side; even, at least 2.
        beta: Probability that an edge moves.

    Raises:
        ValueError: `k` is odd or below 2, or `beta` is not within [0, 1]; on `edges`, the layer is
            not square or has at most `k` units.
    """

    domains: ClassVar = {"k": Int(2, 16, step=2), "beta": Float(0.0, 1.0, fusible=True)}
    rectangular: ClassVar[bool] = False

    k: int = 4
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_even("k", self.k)
        check_share("beta", self.beta)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: `k` per unit on average, both directions of each pair."""
        sizes = segment_sizes("watts_strogatz", out_features, in_features, segments)
        check_degree("watts_strogatz", self.k, in_features)
        rng = np.random.default_rng(seed)
        one, other = lattice(sizes, self.k)
        other = move_ends(one, other, rng.random(len(one)) < self.beta, in_features, rng)
        return Edges.undirected(in_features, one, other)
