"""`conv1d`: convolutions over the time of a spectrogram or a waveform."""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from nas.encoders._steps import LAYOUTS, LONGEST, any_real, channels_of
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Int

POOL = 2
RECEPTIVE, STRIDE = 80, 16  # samples of a waveform


@register("encoder", "conv1d")
class Conv1dEncoder(nn.Module):
    """Convolutions and pools over time (after Dai et al., arXiv 1610.00087): a token per step that is left.

    `layers` times conv 3, normalisation over channels and time, ReLU, max-pool 2; then linear. There
    are as many layers more as leave at most 128 tokens. The bands of a spectrogram are channels;
    of a waveform a convolution over 80 samples makes channels first, every 16 samples. Frames that a mask
    calls unreal enter neither convolutions nor means.

    Args:
        spec: A spectrogram `(1, bands, frames)`, or a waveform `(channels, samples)` or `(samples,)`.
        dim: Width of the tokens.
        width: Channels of every convolution.
        layers: Number of layers.

    Raises:
        ValueError: The modality is no sound.
    """

    domains = {"width": Int(8, 64, log=True), "layers": Int(1, 3)}
    kinds = ("audio",)
    layouts = {"audio": LAYOUTS["audio"]}

    def __init__(self, spec: ModalitySpec, dim: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.shape = spec.shape
        self.stride = 1 if len(spec.shape) == 3 else STRIDE
        channels = math.prod(spec.shape[:-1])
        parts: list[nn.Module] = []
        if self.stride > 1:
            parts.append(nn.Conv1d(channels, width, RECEPTIVE, STRIDE, (RECEPTIVE - STRIDE) // 2))
            channels = width
        steps = math.ceil(spec.shape[-1] / self.stride)
        self.count = max(layers, math.ceil(math.log(steps / LONGEST, POOL)))
        for index in range(self.count):
            parts.append(_layer(width if index else channels, width))
        self.layers = nn.Sequential(*parts)
        self.project = nn.Linear(width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sounds `(B, …, frames)` to tokens `(B, T, dim)`.

        Args:
            x: The sounds.
            mask: bool `(B, frames)`, true for real frames; None: all are.
        """
        x = channels_of(x, self.shape, mask)
        x = F.pad(x, (0, -x.shape[-1] % self.stride))
        x = self.layers(x) if mask is None else self._of_real_steps(x, any_real(mask, self.stride))
        tokens: Tensor = self.project(x.mT)
        return tokens

    def _of_real_steps(self, x: Tensor, real: Tensor) -> Tensor:
        """What the layers make of the real steps, bool `(B, T)`, as if there were no others."""
        for layer in self.layers:
            if isinstance(layer, nn.Sequential):
                x, real = _pooled(layer, x, real), any_real(real, POOL)
            else:
                x = _real_steps(layer(x), real)
        return x

    def token_mask(self, mask: Tensor) -> Tensor:
        """Which tokens hold a real frame, bool `(B, T)`, from the mask of the frames."""
        return any_real(mask, self.stride * POOL**self.count)


def _layer(channels: int, width: int) -> nn.Sequential:
    convolution = nn.Conv1d(channels, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(1, width), nn.ReLU(), nn.MaxPool1d(POOL, ceil_mode=True))


def _pooled(layer: Any, x: Tensor, real: Tensor) -> Tensor:
    """A layer on steps `(B, channels, T)`, zeros where not real; so is what it gives."""
    convolution, norm, relu, pool = layer
    x = _standardised(_real_steps(convolution(x), real), real, norm.eps)
    pooled: Tensor = pool(_real_steps(relu(x * norm.weight[:, None] + norm.bias[:, None]), real))
    return pooled


def _real_steps(x: Tensor, real: Tensor) -> Tensor:
    """Steps `(B, channels, T)` with zeros but for those that are real, bool `(B, T)`."""
    return x.masked_fill(~real[:, None], 0)


def _standardised(x: Tensor, real: Tensor, eps: float) -> Tensor:
    """Every sample with a mean of 0 and a deviation of 1 over the channels of its real steps."""
    count = (x.shape[1] * real.sum(1)).clamp(min=1)[:, None, None]
    centred = _real_steps(x - x.sum((1, 2), keepdim=True) / count, real)
    return centred * (centred.square().sum((1, 2), keepdim=True) / count + eps).rsqrt()
