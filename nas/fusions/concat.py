"""`concat`: the modalities side by side (mode `concat` of sparank's `FusionLayer`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.fusions._inputs import VectorFusion
from nas.registry import register


@register("fusion", "concat")
class ConcatFusion(VectorFusion):
    """[h_1; …; h_M], the vectors side by side, without parameters; an absent modality is zeros.

    The simplest of joint representations (Baltrušaitis et al., arXiv 1705.09406).

    Args:
        dims: Width of every modality's vector; the fused vector is as wide as all together.
    """

    name = "concat"
    passes_one = True

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(dims, sum(dims))

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """[h_1; …; h_M]."""
        return torch.cat(features, 1), None
