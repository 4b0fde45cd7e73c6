"""`multiplicative`: multiplicative interactions (Jayakumar et al., ICLR 2020)."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion
from nas.registry import register


@register("fusion", "multiplicative")
class MultiplicativeFusion(VectorFusion):
    """x'Wy + Ux + Vy + b, with W a tensor of three axes; for more modalities a W for every pair of them.

    Σ_{a<b} d_a · d_b · out_dim weights: the largest fusion of all. What is absent is zeros, so that
    only the terms of the others remain.

    Args:
        dims: Width of every modality's vector.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    name = "multiplicative"

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.pairs = list(combinations(range(len(self.dims)), 2))
        self.products = nn.ParameterList(
            _products(self.out_dim, self.dims[a], self.dims[b]) for a, b in self.pairs
        )
        self.linear = nn.Linear(sum(self.dims), self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Σ_{a<b} h_a' W_ab h_b + Σ_m U_m h_m + b."""
        fused = self.linear(torch.cat(features, 1))
        for (a, b), weight in zip(self.pairs, self.products, strict=True):
            fused = fused + torch.einsum("bi,oij,bj->bo", features[a], weight, features[b])
        return fused, None


def _products(outputs: int, left: int, right: int) -> nn.Parameter:
    """W `(outputs, left, right)`, drawn so that its term is as large as that of a linear layer."""
    bound = (left * right) ** -0.5
    return nn.Parameter(torch.empty(outputs, left, right).uniform_(-bound, bound))
