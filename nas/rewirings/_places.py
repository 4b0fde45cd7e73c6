"""Where a layer may have edges, and uniform draws among the empty places without listing them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nas.sparse import SparseLinear


@dataclass(frozen=True)
class Places:
    """The positions of a layer that may be edges, numbered row by row.

    A square layer that has no self-loop, as the unit graphs, has no place for one either.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        loops: Whether the diagonal counts.
    """

    out_features: int
    in_features: int
    loops: bool

    @classmethod
    def of(cls, layer: "SparseLinear") -> "Places":
        """The places of a layer, wired as it is now."""
        square = layer.out_features == layer.in_features
        return cls(
            layer.out_features, layer.in_features, not square or bool((layer.target == layer.source).any())
        )

    @property
    def per_row(self) -> int:
        """Places of one output unit."""
        return self.in_features - (not self.loops)

    def __len__(self) -> int:
        return self.out_features * self.per_row

    def number(self, target: Tensor, source: Tensor) -> Tensor:
        """Numbers of the edges, in their order."""
        return target * self.per_row + source - (0 if self.loops else (source > target).long())

    def ends(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and sources of the places with these numbers."""
        target = numbers // max(self.per_row, 1)
        source = numbers - target * self.per_row
        return target, source if self.loops else source + (source >= target).long()

    def draw_empty(self, taken: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Numbers of `count` uniform distinct places outside the ascending `taken`.

        Raises:
            ValueError: There are not so many.
        """
        empty = len(self) - len(taken)
        if count > empty:
            raise ValueError(f"{count} new edges do not fit into {empty} empty places")
        ranks = distinct(empty, count, generator).to(taken.device)
        empty_before = taken - torch.arange(len(taken), device=taken.device)
        return ranks + torch.searchsorted(empty_before, ranks, right=True)


def distinct(universe: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` distinct numbers below `universe`, a uniform subset, in memory O(count)."""
    if 2 * count > universe:
        return torch.randperm(universe, generator=generator)[:count]
    found = torch.empty(0, dtype=torch.int64)
    while len(found) < count:
        drawn = torch.randint(universe, (count - len(found),), generator=generator)
        found = torch.cat([found, drawn]).unique()
    return found
