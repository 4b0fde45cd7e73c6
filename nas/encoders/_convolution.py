"""What the image and the spectrogram encoder share: two convolutions and a global average."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.modality import ModalitySpec, check_spec
from nas.space import Int

POOL = 2


class ConvolutionEncoder(nn.Module):
    """Conv 3×3, ReLU, max-pool 2, conv 3×3 to twice the width, ReLU, global average, linear.

    Args:
        spec: A modality of shape `(channels, height, width)`.
        dim: Width of the token.
        width: Channels of the first convolution; the second has twice as many.

    Raises:
        ValueError: The shape is not `(channels, height, width)`, or too small for the pooling.
    """

    domains = {"width": Int(8, 64, log=True)}
    kinds: tuple[str, ...] = ()

    def __init__(self, spec: ModalitySpec, dim: int, width: int = 32) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.channels = spec.shape[0]
        self.conv1 = nn.Conv2d(self.channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.project = nn.Linear(2 * width, dim)
        # Half again to twice as fast, on CPUs too.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Samples to one token each, `(B, 1, dim)`.

        Args:
            x: `(B, channels, height, width)`.
            mask: bool `(B, width)`, true for the real columns, such as the frames of a sound; None: all are.
        """
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"{tuple(x.shape)} is not a batch of shape (batch, {self.channels}, height, width)"
            )
        real = None if mask is None else mask[:, None, None]
        x = self.conv1(_real_columns(x, real).contiguous(memory_format=torch.channels_last))
        x = F.max_pool2d(x, POOL).relu()  # the pool of the ReLU, on a quarter of the values
        real = None if real is None else real.unfold(-1, POOL, POOL).all(-1)
        x = _real_columns(self.conv2(_real_columns(x, real)).relu(), real)
        tokens: Tensor = self.project(x.mean((2, 3)) if real is None else _mean(x, real))
        return tokens[:, None]


def _real_columns(x: Tensor, real: Tensor | None) -> Tensor:
    """Maps `(B, channels, height, width)` with zeros but for their real columns, bool `(B, 1, 1, width)`."""
    return x if real is None else x.masked_fill(~real, 0)


def _mean(x: Tensor, real: Tensor) -> Tensor:
    """Mean of maps over their real columns, beyond which they are zeros."""
    return x.sum((2, 3)) / (x.shape[2] * real.sum((2, 3)).clamp(min=1))
