"""`weighted_sum`: one learned weight per modality (scalar mixing, Peters et al., arXiv 1802.05365)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import masked_softmax
from nas.fusions._inputs import AlignedFusion
from nas.registry import register


@register("fusion", "weighted_sum")
class WeightedSumFusion(AlignedFusion):
    """Σ_m softmax(a)_m h_m, after projection to a common width (equation 1, without the scale).

    The weights `(M, B)` sum to 1 over the modalities that are there; all start equal.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.
    """

    name = "weighted_sum"

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        if not self.is_identity:
            self.scores = nn.Parameter(torch.zeros(len(self.dims)))

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Σ_m softmax(a)_m h_m."""
        scores = self.scores[:, None].expand(vectors.shape[:2])
        weights = masked_softmax(scores, None if present is None else present.T, 0)
        return (weights[..., None] * vectors).sum(0), weights
