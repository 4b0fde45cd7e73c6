"""`attention`: multi-head self-attention over the tokens of a text (arXiv 1706.03762)."""

from torch import Tensor, nn

from nas.attention import MultiHeadAttention
from nas.encoders._text import embed, real_tokens
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice


@register("encoder", "attention")
class AttentionEncoder(nn.Module):
    """Embedding, self-attention, mean over the real tokens, linear: one token per text.

    W · 1/T Σ_t MHA(E, E, E)_t + b, with E the embeddings of the T real tokens.

    Args:
        spec: The text modality; its vocabulary is the number of token ids.
        dim: Width of the token.
        embedding: Width of the embedding and of the attention.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the embedding.

    Raises:
        ValueError: The modality is no text or has no vocabulary, or the heads do not divide the embedding.
    """

    domains = {"embedding": Choice(16, 32, 64, 128)}
    kinds = ("text",)
    layouts = {"text": ((1,),)}

    def __init__(self, spec: ModalitySpec, dim: int, embedding: int = 128, heads: int | None = None) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.embedding = embed(spec, embedding)
        self.attention = MultiHeadAttention(embedding, heads)
        self.project = nn.Linear(embedding, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token ids `(B, T)` to one token per text, `(B, 1, dim)`.

        Args:
            x: Token ids; 0 is padding.
            mask: bool `(B, T)`, true for real tokens; None: all ids but 0 are real.
        """
        pooled = self.attention.pooled(self.embedding(x), real_tokens(x, mask))
        tokens: Tensor = self.project(pooled)
        return tokens[:, None]
