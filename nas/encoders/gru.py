"""`gru`: a recurrent network over the tokens of a text or the frames of a sound."""

import torch
from torch import Tensor, nn

from nas.encoders._steps import LAYOUTS, steps
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice, Int


@register("encoder", "gru")
class GRUEncoder(nn.Module):
    """Gated recurrent units over tokens or frames (Cho et al., arXiv 1406.1078): as many tokens.

    Embeddings (of sounds: a linear map of each frame), `layers` layers of units in either direction,
    and a linear map of both directions' states. A unit reads x and has the state h:
    r = σ(W_r x + U_r h), z = σ(W_z x + U_z h), n = tanh(W_n x + r ⊙ (U_n h)), h ← (1 − z) ⊙ n + z ⊙ h,
    each with biases. Padding is passed over wherever it stands.

    Args:
        spec: A text, or a sound; neighbouring frames are stacked where there are more than 128.
        dim: Width of the tokens.
        width: Width of the inputs and of the states.
        layers: Number of recurrent layers.
        bidirectional: Whether a second network reads from the end to the beginning.

    Raises:
        ValueError: The modality is neither.
    """

    domains = {"width": Choice(16, 32, 64), "layers": Int(1, 2), "bidirectional": Choice(False, True)}
    kinds = ("text", "audio")
    layouts = LAYOUTS

    def __init__(
        self, spec: ModalitySpec, dim: int, width: int = 64, layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.steps = steps(spec, width)
        self.forwards = nn.GRU(width, width, layers, batch_first=True)
        self.backwards = nn.GRU(width, width, layers, batch_first=True) if bidirectional else None
        self.project = nn.Linear(2 * width if bidirectional else width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Texts `(B, T)` or sounds `(B, …, frames)` to tokens `(B, T, dim)`.

        Args:
            x: Token ids, 0 is padding; or sounds.
            mask: bool `(B, T)` of ids or frames, true for real ones; None: all ids but 0, all frames.
        """
        vectors, real = self.steps(x, mask)
        if real is None:
            real = vectors.new_ones(vectors.shape[:2], dtype=torch.bool)
        states = _read(self.forwards, vectors, real)
        if self.backwards is not None:
            reversed_states = _read(self.backwards, vectors.flip(1), real.flip(1)).flip(1)
            states = torch.cat([states, reversed_states], -1)
        tokens: Tensor = self.project(states)
        return tokens

    def token_mask(self, mask: Tensor) -> Tensor:
        """Which tokens are real, bool `(B, T)`, from the mask of ids or frames."""
        return self.steps.token_mask(mask)


def _read(network: nn.GRU, vectors: Tensor, real: Tensor) -> Tensor:
    """States `(B, T, width)` of a network that reads the real vectors before all others."""
    place = torch.where(real, real.cumsum(1), real.sum(1, keepdim=True) + (~real).cumsum(1)) - 1
    index = place[..., None].expand(vectors.shape)
    states, _ = network(torch.zeros_like(vectors).scatter(1, index, vectors))
    read: Tensor = states.gather(1, index)
    return read
