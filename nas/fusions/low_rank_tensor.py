"""`low_rank_tensor`: tensor fusion by factors of low rank (Liu et al., arXiv 1806.00064)."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Int


@register("fusion", "low_rank_tensor")
class LowRankTensorFusion(VectorFusion):
    """Σ_r w_r Π_m F_m^r [1; h_m] + b: `tensor` with a weight tensor of rank `rank`, never laid out.

    An absent modality is [1; 0].

    Args:
        dims: Width of every modality's vector.
        rank: Number of summands.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    domains = {"rank": Int(1, 32, log=True)}
    name = "low_rank_tensor"

    def __init__(self, dims: Sequence[int], rank: int = 4, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.factors = nn.ParameterList(_factor(rank, width + 1, self.out_dim) for width in self.dims)
        self.weights = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.bias = nn.Parameter(torch.zeros(self.out_dim))

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Σ_r w_r Π_m F_m^r [1; h_m] + b."""
        parts = [
            F.pad(vectors, (1, 0), value=1.0) @ factor
            for vectors, factor in zip(features, self.factors, strict=True)
        ]
        return torch.einsum("r,rbd->bd", self.weights, reduce(torch.mul, parts)) + self.bias, None


def _factor(rank: int, inputs: int, outputs: int) -> nn.Parameter:
    """Factors F^r of one modality, `(rank, inputs, outputs)`, drawn as those of a linear layer."""
    bound = 1 / math.sqrt(inputs)
    return nn.Parameter(torch.empty(rank, inputs, outputs).uniform_(-bound, bound))
