"""`vit`: a transformer over the patches of an image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.encoders._transformer import TransformerStack
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice, Float, Int


@register("encoder", "vit")
class VisionTransformer(nn.Module):
    """Vision transformer (Dosovitskiy et al., arXiv 2010.11929): one token per patch.

    A linear map of each patch plus a learned position, transformer layers, linear. There is no class
    token: the mean over the patches serves as well (Beyer et al., arXiv 2205.01580). The size of a patch
    follows from the image's, so that every size fits: ⌈height / grid⌉ × ⌈width / grid⌉, with zeros beyond
    the border.

    Args:
        spec: The image modality, of any number of channels and any size.
        dim: Width of the tokens.
        grid: Patches along each side; fewer where the image has fewer pixels.
        width: Width inside.
        layers: Number of transformer layers.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        dropout: Share of what every layer adds that is dropped during training.

    Raises:
        ValueError: The modality is no image, or the heads do not divide the width.
    """

    domains = {
        "grid": Choice(2, 4, 8),
        "width": Choice(16, 32, 64),
        "layers": Int(1, 3),
        "dropout": Float(0.0, 0.5),
    }
    kinds = ("image",)
    layouts = {"image": ((1, 1, 1),)}

    def __init__(
        self,
        spec: ModalitySpec,
        dim: int,
        grid: int = 4,
        width: int = 64,
        layers: int = 1,
        heads: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        channels, *sides = spec.shape
        self.patch = [math.ceil(side / grid) for side in sides]
        patches = math.prod(math.ceil(side / size) for side, size in zip(sides, self.patch, strict=True))
        self.embed = nn.Linear(channels * math.prod(self.patch), width)
        self.positions = nn.Parameter(0.02 * torch.randn(patches, width))
        self.stack = TransformerStack(width, layers, heads, dropout)
        self.project = nn.Linear(width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Images `(B, channels, height, width)` to a token per patch, row by row, `(B, T, dim)`."""
        tokens: Tensor = self.project(self.stack(self.embed(self._patches(x)) + self.positions))
        return tokens

    def _patches(self, x: Tensor) -> Tensor:
        """The pixels of every patch, `(B, T, channels · height · width)`."""
        high, wide = self.patch
        x = F.pad(x, (0, -x.shape[3] % wide, 0, -x.shape[2] % high))
        x = x.unflatten(3, (-1, wide)).unflatten(2, (-1, high))
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
