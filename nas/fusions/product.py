"""`product`: the modalities' vectors multiplied (as in Kim et al., arXiv 1606.01455)."""

from functools import reduce

import torch
from torch import Tensor

from nas.fusions._inputs import AlignedFusion
from nas.registry import register


@register("fusion", "product")
class ProductFusion(AlignedFusion):
    """Π_m h_m, per dimension, over the modalities that are there; ones where none is.

    Taken after projection to a common width.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.
    """

    name = "product"
    neutral = 1.0

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, None]:
        """Π_m h_m."""
        return reduce(torch.mul, vectors.unbind()), None
