"""`cross_attention`: crossmodal transformers between all pairs (MulT, Tsai et al., arXiv 1906.00295)."""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from nas.attention import TransformerLayer
from nas.fusions._inputs import TokenFusion, mean_over_present
from nas.registry import register
from nas.space import Int


@register("fusion", "cross_attention")
class CrossAttentionFusion(TokenFusion):
    """For every ordered pair (a, b), the tokens of a attend to those of b; the means → linear.

    Z_{b→a}^0 = X_a, Z^i = Y + MLP(LN(Y)) with Y = Z^{i-1} + MHA(LN(Z^{i-1}), LN(X_b), LN(X_b)) for
    i = 1 … layers (the paper's crossmodal transformer). The fused vector is linear([mean of Z_{b→a} over the
    tokens of a], all pairs side by side); the paper has another transformer in place of the mean. What
    is absent sends nothing, and enters as zeros. On one vector per modality see `cross_modal`.

    Args:
        dims: Width of every modality's tokens, of two modalities at least.
        layers: Number of layers of every pair.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: There are fewer than two modalities, or the heads do not divide the width.
    """

    domains = {"layers": Int(1, 4)}
    name = "cross_attention"
    modalities = (2, None)

    def __init__(
        self, dims: Sequence[int], layers: int = 1, heads: int | None = None, out_dim: int | None = None
    ) -> None:
        super().__init__(dims, out_dim)
        self.pairs = list(permutations(range(len(self.dims)), 2))
        self.layers = nn.ModuleList(
            nn.ModuleList(TransformerLayer(self.width, heads) for _ in range(layers)) for _ in self.pairs
        )
        self.linear = nn.Linear(len(self.pairs) * self.width, self.out_dim)

    def fuse(self, tokens: list[Tensor], keep: list[Tensor]) -> tuple[Tensor, None]:
        """Linear([mean of Z_{b→a}], all ordered pairs)."""
        means = []
        for (a, b), layers in zip(self.pairs, self.layers.children(), strict=True):
            stream = tokens[a]
            for layer in layers.children():
                stream, _ = layer(stream, keep[b], tokens[b])
            means.append(mean_over_present(stream, keep[a]))
        return self.linear(torch.cat(means, 1)), None
