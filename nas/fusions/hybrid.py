"""`hybrid`: modality-specific layers, then a common network (Baltrušaitis et al., arXiv 1705.09406)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Int


@register("fusion", "hybrid")
class HybridFusion(VectorFusion):
    """ReLU(R_m h_m) per modality, concatenation → linear → ReLU → linear; what is absent is zeros.

    Args:
        dims: Width of every modality's vector.
        hidden: Width of the hidden layer; None means that of modality 0.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    domains = {"hidden": Int(16, 256, log=True)}
    name = "hybrid"

    def __init__(self, dims: Sequence[int], hidden: int | None = None, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        hidden = hidden or self.dims[0]
        self.refine = nn.ModuleList(nn.Linear(width, width) for width in self.dims)
        self.linear1 = nn.Linear(sum(self.dims), hidden)
        self.linear2 = nn.Linear(hidden, self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Linear(relu(linear([relu(R_1 h_1); …; relu(R_M h_M)])))."""
        refined = [refine(vectors) for refine, vectors in zip(self.refine, features, strict=True)]
        if present is not None:
            refined = [
                vectors.masked_fill(~present[:, index, None], 0) for index, vectors in enumerate(refined)
            ]
        return self.linear2(self.linear1(torch.cat(refined, 1).relu()).relu()), None
