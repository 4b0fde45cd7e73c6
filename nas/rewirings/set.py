"""`set`: sparse evolutionary training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from nas.checks import check_share
from nas.registry import register
from nas.rewirings._rule import Rule, all_but_smallest
from nas.space import Float

if TYPE_CHECKING:
    from nas.sparse import SparseLinear


@register("rewiring", "set")
@dataclass(eq=False)
class SET(Rule):
    """Sparse evolutionary training (Mocanu et al., Nature Communications 9, 2018).

    After every epoch but the last, ζ of the positive weights, the smallest, and ζ of the negative
    ones, the largest, give way to uniform empty positions of weight 0. A weight of 0 counts as
    the smallest of the positive ones.

    Args:
        zeta: Share ζ of the edges that are replaced.

    Raises:
        ValueError: `zeta` is not within [0, 1].
    """

    domains: ClassVar = {"zeta": Float(0.05, 0.5)}

    zeta: float = 0.3

    def __post_init__(self) -> None:
        check_share("zeta", self.zeta)

    @torch.no_grad()
    def step(self, layer: "SparseLinear", step: int) -> None:
        """Replace edges between two epochs."""
        if not self.between_epochs(step):
            return
        weight, keep = layer.weight, torch.empty_like(layer.weight, dtype=torch.bool)
        for sign in (weight < 0, ~(weight < 0)):
            of_sign = weight[sign].abs()
            keep[sign] = all_but_smallest(of_sign, int(self.zeta * len(of_sign)))
        self.grow_uniformly(layer, keep)
