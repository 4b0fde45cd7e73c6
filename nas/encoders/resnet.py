"""`resnet`: a small residual network for images."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Int

STAGES = 3
GROUPS = 4
GRID = 4


@register("encoder", "resnet")
class ResNet(nn.Module):
    """A residual network of three stages (He et al., arXiv 1512.03385, section 4.2): tokens of a 4×4 grid.

    Conv 3×3, then in each stage `blocks` times ReLU(x + conv 3×3, ReLU, conv 3×3 of x), then the mean over
    the cells of a grid, and linear. Each stage has twice the channels of the one before it and half
    its height and width; a 1×1 convolution fits x to them. Every convolution is followed by group
    normalisation (Wu and He, arXiv 1803.08494), under which the samples of a batch do not see each other.

    Args:
        spec: The image modality, of any number of channels and any size.
        dim: Width of the tokens.
        width: Channels of the first stage.
        blocks: Residual blocks of each stage.
    """

    domains = {"width": Int(8, 32, step=8), "blocks": Int(1, 2)}
    kinds = ("image",)
    layouts = {"image": ((1, 1, 1),)}

    def __init__(self, spec: ModalitySpec, dim: int, width: int = 16, blocks: int = 1) -> None:
        super().__init__()
        check_spec(type(self), spec)
        widths = [width * 2**stage for stage in range(STAGES)]
        layers = [_convolution(spec.shape[0], width), nn.ReLU()]
        channels = width
        for stage, own in enumerate(widths):
            for block in range(blocks):
                layers.append(ResidualBlock(channels, own, stride=2 if stage and not block else 1))
                channels = own
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(channels, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Images `(B, channels, height, width)` to the tokens of at most 16 cells, `(B, T, dim)`."""
        maps = self.layers(x)
        height, width = maps.shape[2:]
        cells = F.adaptive_avg_pool2d(maps, (min(height, GRID), min(width, GRID)))
        tokens: Tensor = self.project(cells.flatten(2).mT)
        return tokens


class ResidualBlock(nn.Module):
    """ReLU(F(x) + x), where F is two convolutions with a ReLU between them.

    Args:
        channels: Those of x.
        width: Those of the result.
        stride: 2 halves height and width.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(channels, width, stride), nn.ReLU(), _convolution(width, width)
        )
        same = channels == width and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(channels, width, stride, size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, channels, height, width)` to `(B, width, height / stride, width / stride)`."""
        summed: Tensor = self.residual(x) + self.shortcut(x)
        return summed.relu()


def _convolution(channels: int, width: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(GROUPS, width), width))
