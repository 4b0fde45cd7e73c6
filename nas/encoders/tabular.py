"""`tabular`: a transformer over the columns of a table."""

import math

import torch
from torch import Tensor, nn

from nas.encoders._transformer import TransformerStack
from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Choice, Float, Int

MOST_TOKENS = 64


@register("encoder", "tabular")
class TabularEncoder(nn.Module):
    """FT-Transformer (Gorishniy et al., arXiv 2106.11959): a token for each column of a table.

    Column c becomes b_c + Σ_j x_j w_j over its numbers j: one for a numeric column, a 0/1 for each of the
    values of a category, so that w_j is the embedding of value j. Transformer layers and linear
    follow; there is no class token. Neighbouring columns share a token where there are more than 64.

    Args:
        spec: A vector; its `columns` say which numbers belong together.
        dim: Width of the tokens.
        width: Width inside.
        layers: Number of transformer layers.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        dropout: Share of what every layer adds that is dropped during training.

    Raises:
        ValueError: The modality is no vector, or the heads do not divide the width.
    """

    domains = {"width": Choice(8, 16, 32, 64), "layers": Int(1, 3), "dropout": Float(0.0, 0.5)}
    kinds = ("vector",)
    layouts = {"vector": ((1,),)}

    token_of: Tensor

    def __init__(
        self,
        spec: ModalitySpec,
        dim: int,
        width: int = 32,
        layers: int = 1,
        heads: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        widths = torch.tensor(spec.columns or [1] * spec.shape[0])
        shared = math.ceil(len(widths) / MOST_TOKENS)
        token_of = torch.arange(len(widths)).div(shared, rounding_mode="floor").repeat_interleave(widths)
        self.tokens = int(token_of[-1]) + 1
        self.register_buffer("token_of", token_of, persistent=False)
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(spec.shape[0], width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.tokens, width).uniform_(-bound, bound))
        self.stack = TransformerStack(width, layers, heads, dropout)
        self.project = nn.Linear(width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Vectors `(B, features)` to a token per column, `(B, T, dim)`."""
        products = x[..., None] * self.weight
        columns = products.new_zeros(x.shape[0], *self.bias.shape).index_add(1, self.token_of, products)
        tokens: Tensor = self.project(self.stack(columns + self.bias))
        return tokens
