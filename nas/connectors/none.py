"""`none`: no exchange between the modalities ahead of the fusion."""

from collections.abc import Sequence

from torch import Tensor, nn

from nas.registry import register


@register("connector", "none")
class NoConnector(nn.Module):
    """The features as they are.

    Args:
        dims: Width of every modality's features.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = list(dims)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The list itself."""
        return features
