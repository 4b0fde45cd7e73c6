"""`attention`: self-attention over the modalities (mode `attention` of sparank's `FusionLayer`)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import MultiHeadAttention
from nas.fusions._inputs import VectorFusion, mean_over_present
from nas.registry import register


@register("fusion", "attention")
class AttentionFusion(VectorFusion):
    """Mean over the modalities of LayerNorm(MHA(S, S, S) + S), with S the stacked vectors.

    The attention is the Transformer's (Vaswani et al., arXiv 1706.03762). The weights `(B, M, M)`
    are averaged over the heads; row m tells where modality m looks, and rows and columns of absent
    modalities are 0. One modality alone passes through unchanged. 4d² + 6d parameters.

    Args:
        dims: Width of every modality's vector, the same for all.
        heads: Number of heads; None means 4, or the largest of 4, 2, 1 that divides the width.

    Raises:
        ValueError: The widths differ, or the heads do not divide them.
    """

    name = "attention"
    equal_widths = True
    passes_one = True

    def __init__(self, dims: Sequence[int], heads: int | None = None) -> None:
        super().__init__(dims)
        if not self.is_identity:
            self.attention = MultiHeadAttention(self.out_dim, heads)
            self.norm = nn.LayerNorm(self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean over m of LayerNorm(MHA(S, S, S) + S)."""
        stacked = torch.stack(features, 1)
        attended, weights = self.attention(stacked, keep=present)
        weights = weights.mean(1)
        if present is not None:
            weights = weights.masked_fill(~present[..., None], 0)
        return mean_over_present(self.norm(attended + stacked), present), weights
