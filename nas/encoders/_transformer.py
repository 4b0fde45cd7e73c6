"""The layer that the transformers share."""

from torch import Tensor, nn

from nas.attention import MultiHeadAttention

EXPANSION = 4


class TransformerLayer(nn.Module):
    """x + MHA(LN x), then x + W₂ GELU(W₁ LN x): layer norms ahead (Xiong et al., arXiv 2002.04745).

    Args:
        width: Width of the tokens; the hidden layer is four times as wide.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        dropout: Share of what either part adds that is dropped during training.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(self, width: int, heads: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, EXPANSION * width)
        self.linear2 = nn.Linear(EXPANSION * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens `(B, T, width)` to as many; `keep`, bool `(B, T)`, is true for those that take part."""
        x = x + self.dropout(self.attention(self.norm1(x), keep=keep)[0])
        hidden = nn.functional.gelu(self.linear1(self.norm2(x)))
        return x + self.dropout(self.linear2(hidden))


class TransformerStack(nn.Module):
    """`layers` transformer layers, and a layer norm at the end; arguments as those of `TransformerLayer`."""

    def __init__(self, width: int, layers: int, heads: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens `(B, T, width)` to as many; `keep`, bool `(B, T)`, is true for those that take part."""
        for layer in self.layers:
            x = layer(x, keep)
        return self.norm(x)
