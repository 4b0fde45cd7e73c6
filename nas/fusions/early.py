"""`early`: fusion of the features ahead of a common network (Baltrušaitis et al., arXiv 1705.09406)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Int


@register("fusion", "early")
class EarlyFusion(VectorFusion):
    """Concatenation → linear → ReLU → linear; an absent modality enters as zeros.

    Args:
        dims: Width of every modality's vector.
        hidden: Width of the hidden layer; None means that of modality 0.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    domains = {"hidden": Int(16, 256, log=True)}
    name = "early"

    def __init__(self, dims: Sequence[int], hidden: int | None = None, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        hidden = hidden or self.dims[0]
        self.linear1 = nn.Linear(sum(self.dims), hidden)
        self.linear2 = nn.Linear(hidden, self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Linear(relu(linear([h_1; …; h_M])))."""
        return self.linear2(self.linear1(torch.cat(features, 1)).relu()), None
