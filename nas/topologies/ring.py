"""The ring lattice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.checks import check_even
from nas.registry import register
from nas.space.domains import Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import lattice
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "ring")
@dataclass(frozen=True)
class Ring:
    """Each unit joined to its `k` nearest on a ring, within its own segment.

    A segment of at most `k` units becomes the complete graph. The seed changes nothing.

    Args:
        k: Neighbours of each unit, half of them on each side; even, at least 2.

    Raises:
        ValueError: `k` is odd or below 2; on `edges`, the layer is not square or has at most `k` units.
    """

    domains: ClassVar = {"k": Int(2, 16, step=2)}
    rectangular: ClassVar[bool] = False

    k: int = 4

    def __post_init__(self) -> None:
        check_even("k", self.k)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: `k` per unit."""
        sizes = segment_sizes("ring", out_features, in_features, segments)
        check_degree("ring", self.k, in_features)
        return Edges.undirected(in_features, *lattice(sizes, self.k))
