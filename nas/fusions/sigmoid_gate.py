"""`sigmoid_gate`: two modalities blended in every dimension (mode of sparank's `FusionLayer`)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion, shares_of_two
from nas.registry import register


@register("fusion", "sigmoid_gate")
class SigmoidGateFusion(VectorFusion):
    """z ⊙ h_1 + (1 − z) ⊙ h_2 with z = σ(W[h_1; h_2] + b), for exactly two modalities.

    The gate of `gmu` for two (Arevalo et al., arXiv 1702.01992), over the vectors as they are. The
    weights `(2, B, d)` are z and 1 − z; a modality whose partner is absent weighs 1. One modality
    alone passes through unchanged. 2d² + d parameters.

    Args:
        dims: Width of both modalities' vectors, the same.
    """

    name = "sigmoid_gate"
    modalities = (1, 2)
    equal_widths = True
    passes_one = True

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(dims)
        if not self.is_identity:
            self.gate = nn.Linear(sum(self.dims), self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor]:
        """z ⊙ h_1 + (1 − z) ⊙ h_2."""
        z = self.gate(torch.cat(features, 1)).sigmoid()
        weights = shares_of_two(z, present)
        return (weights * torch.stack(features)).sum(0), weights
