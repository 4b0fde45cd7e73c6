"""Texts and sounds as sequences of vectors, for the encoders that read both."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.encoders._text import embed, real_tokens
from nas.modality import ModalitySpec

LONGEST = 128
LAYOUTS = {"text": ((1,),), "audio": ((1, 1, 1), (1, 1), (1,))}


class Words(nn.Module):
    """Token ids `(B, T)` to their embeddings `(B, T, width)`."""

    def __init__(self, spec: ModalitySpec, width: int) -> None:
        super().__init__()
        self.embedding = embed(spec, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embeddings, and which of them are real."""
        return self.embedding(x), real_tokens(x, mask)

    def token_mask(self, mask: Tensor) -> Tensor:
        """The mask itself: a token is an id."""
        return mask


class Frames(nn.Module):
    """Spectra `(B, …, frames)`, or samples of a waveform, to vectors `(B, T, width)` by one linear map.

    Neighbouring frames are stacked (Sak et al., arXiv 1507.06947) so that there are at most 128 vectors.
    """

    def __init__(self, spec: ModalitySpec, width: int) -> None:
        super().__init__()
        self.shape = spec.shape
        self.stack = math.ceil(spec.shape[-1] / LONGEST)
        self.linear = nn.Linear(math.prod(spec.shape[:-1]) * self.stack, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Vectors, and which of them are real; None where all are."""
        stacked = _stacked(channels_of(x, self.shape, mask), self.stack)
        vectors = self.linear(stacked.permute(0, 2, 1, 3).flatten(2))
        return vectors, None if mask is None else self.token_mask(mask)

    def token_mask(self, mask: Tensor) -> Tensor:
        """Which vectors hold a real frame, bool `(B, T)`, from the mask of the frames."""
        return any_real(mask, self.stack)


def steps(spec: ModalitySpec, width: int) -> Words | Frames:
    """The module that makes a sequence of vectors of a text or a sound: `(x, mask)` to vectors and mask."""
    return Words(spec, width) if spec.kind == "text" else Frames(spec, width)


def channels_of(x: Tensor, shape: tuple[int, ...], mask: Tensor | None) -> Tensor:
    """Sounds `(B, …, frames)` as `(B, channels, frames)`, zeros where a mask `(B, frames)` is false.

    Raises:
        ValueError: The batch is not of that shape, but for the number of frames.
    """
    if x.shape[1:-1] != shape[:-1] or x.ndim != len(shape) + 1:
        raise ValueError(f"{tuple(x.shape)} is not a batch of sounds of shape {('batch', *shape)}")
    channels = x.reshape(x.shape[0], math.prod(shape[:-1]), x.shape[-1])
    return channels if mask is None else channels.masked_fill(~mask[:, None], 0)


def any_real(mask: Tensor, stride: int) -> Tensor:
    """Which groups of `stride` positions hold a real one: `(B, T)` to `(B, ⌈T / stride⌉)`."""
    return _stacked(mask, stride).any(-1)


def positions(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines `(length, width)` of falling frequency (arXiv 1706.03762, section 3.5)."""
    place = torch.arange(length, device=device)[:, None]
    angle = place / 10_000 ** (torch.arange(0, width, 2, device=device) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def _stacked(values: Tensor, stride: int) -> Tensor:
    """`(…, T)` to `(…, ⌈T / stride⌉, stride)`, filled up with zeros."""
    return F.pad(values, (0, -values.shape[-1] % stride)).unflatten(-1, (-1, stride))
