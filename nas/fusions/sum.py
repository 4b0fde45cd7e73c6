"""`sum`: the modalities' vectors added up (Baltrušaitis et al., arXiv 1705.09406)."""

from torch import Tensor

from nas.fusions._inputs import AlignedFusion
from nas.registry import register


@register("fusion", "sum")
class SumFusion(AlignedFusion):
    """Σ_m h_m over the modalities that are there, after projection to a common width.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.
    """

    name = "sum"

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, None]:
        """Σ_m h_m."""
        return vectors.sum(0), None
