"""`gate`: a softmax over the modalities in every dimension (mode `gate` of sparank's `FusionLayer`)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import masked_softmax
from nas.fusions._inputs import VectorFusion
from nas.registry import register


@register("fusion", "gate")
class GateFusion(VectorFusion):
    """Σ_m g_m ⊙ h_m with g the softmax over m, per dimension, of W_m h_m + b_m.

    A gating network (after Jacobs et al. 1991) for each dimension. The weights `(M, B, d)` sum to 1
    over the modalities that are there. One modality alone passes through unchanged. M(d² + d)
    parameters.

    Args:
        dims: Width of every modality's vector, the same for all.
    """

    name = "gate"
    equal_widths = True
    passes_one = True

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(dims)
        if not self.is_identity:
            self.gates = nn.ModuleList(nn.Linear(width, width) for width in self.dims)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Σ_m softmax_m(W_m h_m + b_m) ⊙ h_m."""
        scores = torch.stack([gate(vectors) for gate, vectors in zip(self.gates, features, strict=True)])
        weights = masked_softmax(scores, None if present is None else present.T[..., None], 0)
        return (weights * torch.stack(features)).sum(0), weights
