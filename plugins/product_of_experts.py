"""A fusion written as a stranger would write it: a product of experts, one per modality."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import nas


@nas.register("fusion", "product_of_experts")
class ProductOfExperts(nn.Module):
    """Σ_m τ_m ⊙ h_m / (1 + Σ_m τ_m), the mean of a product of Gaussians (Wu & Goodman, arXiv 1802.05335).

    Every modality says how sure it is, τ_m = softplus(V_m h_m + c_m) per feature; a standard normal
    prior holds the balance, so that less is claimed where less is known. An absent modality is no
    expert: its τ_m is 0.

    Args:
        dims: Width of every modality's features; all the same.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        if len(set(dims)) > 1:
            raise ValueError(f"product_of_experts needs modalities of one width, not {list(dims)}")
        self.out_dim = dims[0]
        self.sure = nn.ModuleList(nn.Linear(width, width) for width in dims)

    def forward(
        self, features: Sequence[Tensor], present: Tensor | None = None, return_gates: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Any]]:
        """Vectors `(B, d)`, one per modality, to `(B, d)`; the weights are `(M, B, d)`."""
        stacked = torch.stack(list(features))
        if present is not None:
            stacked = stacked.masked_fill(~present.T[..., None], 0)
        precision = torch.stack(
            [nn.functional.softplus(sure(vector)) for sure, vector in zip(self.sure, stacked, strict=True)]
        )
        if present is not None:
            precision = precision.masked_fill(~present.T[..., None], 0)
        weights = precision / (1 + precision.sum(0))
        fused = (weights * stacked).sum(0)
        return (fused, {"type": "product_of_experts", "weights": weights}) if return_gates else fused
