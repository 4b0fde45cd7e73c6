"""`none`: the wiring stays as it is."""

from typing import TYPE_CHECKING, ClassVar

from nas.registry import register
from nas.rewirings._rule import Rule

if TYPE_CHECKING:
    from nas.sparse import SparseLinear


@register("rewiring", "none")
class NoRewiring(Rule):
    """A static graph: the weights learn, the edges stay."""

    static: ClassVar[bool] = True

    def step(self, layer: "SparseLinear", step: int) -> None:
        """Leave the layer as it is."""
