"""`mean`: the average of the modalities' vectors (Baltrušaitis et al., arXiv 1705.09406)."""

from torch import Tensor

from nas.fusions._inputs import AlignedFusion, mean_over_present
from nas.registry import register


@register("fusion", "mean")
class MeanFusion(AlignedFusion):
    """1/M Σ_m h_m, M the number of modalities that are there, after projection to a common width.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.
    """

    name = "mean"

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, None]:
        """1/M Σ_m h_m."""
        return mean_over_present(vectors.transpose(0, 1), present), None
