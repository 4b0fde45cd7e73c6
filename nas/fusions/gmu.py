"""`gmu`: the gated multimodal unit (Arevalo et al., arXiv 1702.01992)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion, shares_of_two
from nas.registry import register


@register("fusion", "gmu")
class GMUFusion(VectorFusion):
    """h_m = tanh(W_m x_m), z_m = σ(V_m [x_1; …; x_M]); Σ_m z_m ⊙ h_m. Without biases, as in the paper.

    Two modalities share one gate: z and 1 − z. The weights `(M, B, d)` are the gates; a modality of
    two whose partner is absent weighs 1.

    Args:
        dims: Width of every modality's vector.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    name = "gmu"

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.hidden = nn.ModuleList(nn.Linear(width, self.out_dim, bias=False) for width in self.dims)
        self.count = 1 if len(self.dims) == 2 else len(self.dims)
        self.gates = nn.Linear(sum(self.dims), self.count * self.out_dim, bias=False)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Σ_m σ(V_m [x_1; …; x_M]) ⊙ tanh(W_m x_m)."""
        hidden = torch.stack(
            [layer(vectors).tanh() for layer, vectors in zip(self.hidden, features, strict=True)]
        )
        gates = self.gates(torch.cat(features, 1)).sigmoid()
        weights = gates.unflatten(1, (self.count, self.out_dim)).transpose(0, 1)
        if len(self.dims) == 2:
            weights = shares_of_two(weights[0], present)
        elif present is not None:
            weights = weights.masked_fill(~present.T[..., None], 0)
        return (weights * hidden).sum(0), weights
