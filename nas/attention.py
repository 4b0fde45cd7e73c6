"""Multi-head attention (Vaswani et al., Attention Is All You Need, arXiv 1706.03762, section 3.2.2).

Written out in matrix products, so that operation counters see all of it, every head's weights are
there to be reported, and candidates can be trained side by side under `torch.func.vmap`.
"""

import torch
from torch import Tensor, nn


def heads_for(width: int, heads: int | None = None) -> int:
    """Number of heads of an attention: what was asked for, or the largest of 4, 2, 1 that divides.

    Raises:
        ValueError: The heads asked for do not divide the width.
    """
    if heads is None:
        return next(count for count in (4, 2, 1) if width % count == 0)
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide the width {width}; give a divisor of {width}, or None")
    return heads


def masked_softmax(scores: Tensor, keep: Tensor | None, dim: int = -1) -> Tensor:
    """Softmax over what is kept; what is not kept weighs 0, and so does everything if nothing is kept.

    Args:
        scores: Any shape.
        keep: bool, broadcast to `scores`; None keeps everything.
        dim: Axis that sums to 1.
    """
    if keep is None:
        return scores.softmax(dim)
    lost = ~keep
    floor = torch.finfo(scores.dtype).min  # not -inf, whose softmax over nothing but itself is NaN
    return scores.masked_fill(lost, floor).softmax(dim).masked_fill(lost, 0)


class MultiHeadAttention(nn.Module):
    """Multi-head attention with biases and without dropout.

    The parameters bear the names and shapes of those of `torch.nn.MultiheadAttention`, so that a
    `state_dict` fits both.

    Args:
        width: Width of tokens, keys and values.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(self, width: int, heads: int | None = None) -> None:
        super().__init__()
        self.heads = heads_for(width, heads)
        self.head_width = width // self.heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, memory: Tensor | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from the query's tokens to the memory's.

        Args:
            query: `(B, T, width)`.
            memory: `(B, S, width)`; None attends from the query to itself.
            keep: bool `(B, S)`, true for the tokens of the memory that take part; None: all do.

        Returns:
            Tokens `(B, T, width)` and the weights of every head `(B, heads, T, S)`.
        """
        weights, values = self._attend(query, memory, keep)
        return self._mixed(weights, values), weights

    def pooled(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Self-attention, then the mean over the kept tokens; zeros where none is kept.

        The mean is linear, so it is taken over the weights, ahead of values and output projection.

        Args:
            tokens: `(B, T, width)`.
            keep: bool `(B, T)`, true for the tokens that take part.

        Returns:
            `(B, width)`.
        """
        weights, values = self._attend(tokens, None, keep)
        count = keep.sum(1, keepdim=True)
        share = (keep / count.clamp(min=1)).to(weights.dtype)
        mean = self._mixed(share[:, None, None] @ weights, values)[:, 0]
        return mean.masked_fill(count == 0, 0)

    def _attend(self, query: Tensor, memory: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        queries, keys, values = map(self._split, self._project(query, memory))
        scores = (queries * self.head_width**-0.5) @ keys.transpose(-2, -1)
        return masked_softmax(scores, None if keep is None else keep[:, None, None]), values

    def _project(self, query: Tensor, memory: Tensor | None) -> tuple[Tensor, ...]:
        if memory is None:
            return nn.functional.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        width = query.shape[-1]
        queries = nn.functional.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width])
        keys, values = nn.functional.linear(
            memory, self.in_proj_weight[width:], self.in_proj_bias[width:]
        ).chunk(2, -1)
        return queries, keys, values

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:-1], self.heads, self.head_width).transpose(1, 2)

    def _mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        mixed: Tensor = self.out_proj((weights @ values).transpose(1, 2).flatten(-2))
        return mixed


class TransformerLayer(nn.Module):
    """x + MHA(LN(x), LN(memory)), then x + MLP(LN(x)): a layer that normalises first (arXiv 2002.04745).

    The MLP is linear → GELU → linear. Without dropout and without positions, which are the caller's.

    Args:
        width: Width of the tokens.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        expansion: Width of the MLP's hidden layer, as a multiple of the tokens'.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(self, width: int, heads: int | None = None, expansion: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(
        self, tokens: Tensor, keep: Tensor | None = None, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens that have seen the memory; where none of it is kept, they see nothing.

        Args:
            tokens: `(B, T, width)`.
            keep: bool `(B, S)`, true for the tokens of the memory that take part; None: all do.
            memory: `(B, S, width)`; None: the tokens themselves.

        Returns:
            Tokens `(B, T, width)` and the weights of every head `(B, heads, T, S)`.
        """
        normed = self.norm1(tokens)
        message, weights = self.attention(normed, None if memory is None else self.norm1(memory), keep)
        if keep is not None:
            message = message.masked_fill(~keep.any(1)[:, None, None], 0)
        tokens = tokens + message
        return tokens + self.mlp(self.norm2(tokens)), weights
