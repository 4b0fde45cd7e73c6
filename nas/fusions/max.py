"""`max`: the largest value of every dimension (max-pooling over views, Su et al., arXiv 1505.00880)."""

from torch import Tensor

from nas.fusions._inputs import AlignedFusion
from nas.registry import register


@register("fusion", "max")
class MaxFusion(AlignedFusion):
    """max_m h_m, per dimension, over the modalities that are there; zeros where none is.

    Taken after projection to a common width.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.
    """

    name = "max"
    neutral = float("-inf")

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, None]:
        """max_m h_m."""
        largest = vectors.amax(0)
        if present is not None:
            largest = largest.masked_fill(~present.any(1, keepdim=True), 0)
        return largest, None
