"""`ngram_bag`: the sum of the embeddings of a text's hashed n-grams."""

import torch
from torch import Tensor, nn

from nas.encoders._text import PADDING, real_tokens
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice

PRIME = 2**31 - 1
FACTOR = 1_103_515_245  # a product of two numbers below 2³¹ stays within 64 bits


@register("encoder", "ngram_bag")
class NgramBagEncoder(nn.Module):
    """Sum of the embeddings of hashed n-grams, then linear (Bojanowski et al., arXiv 1607.04606): one token.

    An n-gram is `shortest` to `longest` real tokens in a row; it has the embedding of the bucket to which
    `hash_ngrams` sends it. Of characters, n-grams catch what is written alike in many languages.

    Args:
        spec: The text modality, of any vocabulary, with at least `shortest` tokens.
        dim: Width of the token.
        buckets: Number of embeddings.
        embedding: Width of the embeddings.
        shortest: Tokens of the shortest n-grams.
        longest: Tokens of the longest n-grams.

    Raises:
        ValueError: The modality is no text of that length, or `longest` is below `shortest`.
    """

    domains = {"buckets": Choice(512, 2048, 8192), "embedding": Choice(8, 16, 32)}
    kinds = ("text",)
    layouts = {"text": ((2,),)}

    def __init__(
        self,
        spec: ModalitySpec,
        dim: int,
        buckets: int = 2048,
        embedding: int = 16,
        shortest: int = 2,
        longest: int = 5,
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        if not 1 <= shortest <= longest:
            raise ValueError(f"n-grams of {shortest} to {longest} tokens: give 1 <= shortest <= longest")
        if spec.shape[0] < shortest:
            raise ValueError(f"a text of {spec.shape[0]} tokens has no n-grams of {shortest} or more")
        self.buckets = buckets
        self.sizes = range(shortest, min(longest, spec.shape[0]) + 1)
        self.embedding = nn.Embedding(buckets + 1, embedding, padding_idx=PADDING)
        count = sum(spec.shape[0] - size + 1 for size in self.sizes)
        with torch.no_grad():
            self.embedding.weight.mul_(count**-0.5)  # a full text's sum varies by 1
        self.project = nn.Linear(embedding, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token ids `(B, T)` to one token per text, `(B, 1, dim)`.

        Args:
            x: Token ids; 0 is padding.
            mask: bool `(B, T)`, true for real tokens; None: all ids but 0 are real.
        """
        real = real_tokens(x, mask)
        ngrams = [hash_ngrams(x, real, size, self.buckets) for size in self.sizes]
        tokens: Tensor = self.project(self.embedding(torch.cat(ngrams, 1)).sum(1))
        return tokens[:, None]


def hash_ngrams(ids: Tensor, real: Tensor, size: int, buckets: int) -> Tensor:
    """Buckets 1 to `buckets` of the n-grams of `size` tokens; 0 for one that is not all real.

    h₀ = n, h_j = (h_{j-1} · 1,103,515,245 + id_j + 1) mod (2³¹ - 1), and the bucket is 1 + h_n mod `buckets`:
    the same in every process and on every machine.

    Args:
        ids: int64 `(B, T)`.
        real: bool `(B, T)`.
        size: n.
        buckets: Number of buckets.

    Returns:
        int64 `(B, max(T - n + 1, 0))`.
    """
    windows, whole = ids.unfold(1, size, 1), real.unfold(1, size, 1).all(-1)
    hashed = torch.full_like(windows[..., 0], size)
    for offset in range(size):
        hashed = (hashed * FACTOR + windows[..., offset] + 1) % PRIME
    return torch.where(whole, 1 + hashed % buckets, 0)
