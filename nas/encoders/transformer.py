"""`transformer`: layers of self-attention over the tokens of a text or the frames of a sound."""

from torch import Tensor, nn

from nas.encoders._steps import LAYOUTS, positions, steps
from nas.encoders._transformer import TransformerStack
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice, Float, Int


@register("encoder", "transformer")
class TransformerEncoder(nn.Module):
    """Transformer layers over tokens or frames (Vaswani et al., arXiv 1706.03762): as many tokens.

    Embeddings (of sounds: a linear map of each frame), plus sines and cosines of the positions, then
    `layers` times x ← x + MHA(LN x), x ← x + W₂ GELU(W₁ LN x), with biases; then LN and linear.

    Args:
        spec: A text, or a sound; neighbouring frames are stacked where there are more than 128.
        dim: Width of the tokens.
        width: Width inside.
        layers: Number of transformer layers.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        dropout: Share of what every layer adds that is dropped during training.

    Raises:
        ValueError: The modality is neither, or the heads do not divide the width.
    """

    domains = {"width": Choice(16, 32, 64), "layers": Int(1, 3), "dropout": Float(0.0, 0.5)}
    kinds = ("text", "audio")
    layouts = LAYOUTS

    def __init__(
        self,
        spec: ModalitySpec,
        dim: int,
        width: int = 64,
        layers: int = 1,
        heads: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.steps = steps(spec, width)
        self.stack = TransformerStack(width, layers, heads, dropout)
        self.project = nn.Linear(width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Texts `(B, T)` or sounds `(B, …, frames)` to tokens `(B, T, dim)`.

        Args:
            x: Token ids, 0 is padding; or sounds.
            mask: bool `(B, T)` of ids or frames, true for real ones; None: all ids but 0, all frames.
        """
        vectors, real = self.steps(x, mask)
        place = positions(vectors.shape[1], vectors.shape[2], vectors.device).to(vectors)
        tokens: Tensor = self.project(self.stack(vectors + place, real))
        return tokens

    def token_mask(self, mask: Tensor) -> Tensor:
        """Which tokens are real, bool `(B, T)`, from the mask of ids or frames."""
        return self.steps.token_mask(mask)
