"""`bag`: the mean of a text's embeddings."""

from torch import Tensor, nn

from nas.encoders._text import embed, real_tokens
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice


@register("encoder", "bag")
class BagEncoder(nn.Module):
    """Mean of the embeddings of the real tokens, then linear (Joulin et al., arXiv 1607.01759): one token.

    W · 1/T Σ_t e(x_t) + b over the T real tokens.

    Args:
        spec: The text modality; its vocabulary is the number of token ids.
        dim: Width of the token.
        embedding: Width of the embeddings.

    Raises:
        ValueError: The modality is no text, or has no vocabulary.
    """

    domains = {"embedding": Choice(8, 16, 32, 64)}
    kinds = ("text",)
    layouts = {"text": ((1,),)}

    def __init__(self, spec: ModalitySpec, dim: int, embedding: int = 32) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.embedding = embed(spec, embedding)
        self.project = nn.Linear(embedding, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token ids `(B, T)` to one token per text, `(B, 1, dim)`.

        Args:
            x: Token ids; 0 is padding.
            mask: bool `(B, T)`, true for real tokens; None: all ids but 0 are real.
        """
        real = real_tokens(x, mask)[..., None]
        mean = self.embedding(x).masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)
        tokens: Tensor = self.project(mean)
        return tokens[:, None]
