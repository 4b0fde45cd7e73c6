"""`mmtm`: the multimodal transfer module (Joze et al., arXiv 1911.08670)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Choice


@register("fusion", "mmtm")
class MMTMFusion(VectorFusion):
    """Joint squeeze, excitation of each modality, and the results side by side.

    Z = ReLU(W [h_1; …; h_M] + b), g_m = 2σ(W_m Z + b_m), [g_1 ⊙ h_1; …; g_M ⊙ h_M]. The ReLU is that of
    the authors' code (github.com/haamoon/mmtm), which has no factor of 2. The squeeze over positions is
    the pooling that has made the vectors: a gate per channel is the same before and after it. The weights
    `(M, B, d)` are the gates, where the widths are equal; what is absent is zeros.

    Args:
        dims: Width of every modality's vector; the fused vector is as wide as all together.
        reduction: Width of all vectors together, as a multiple of that of Z.
    """

    domains = {"reduction": Choice(2, 4, 8)}
    name = "mmtm"

    def __init__(self, dims: Sequence[int], reduction: int = 4) -> None:
        super().__init__(dims, sum(dims))
        width = max(1, self.out_dim // reduction)
        self.squeeze = nn.Linear(self.out_dim, width)
        self.excite = nn.Linear(width, self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[2σ(W_1 Z + b_1) ⊙ h_1; …], with Z = ReLU(W [h_1; …; h_M] + b)."""
        joined = torch.cat(features, 1)
        gates = 2 * self.excite(self.squeeze(joined).relu()).sigmoid()
        weights = None
        if len(set(self.dims)) == 1:
            weights = torch.stack(gates.split(self.dims, 1))
            if present is not None:
                weights = weights.masked_fill(~present.T[..., None], 0)
        return gates * joined, weights
