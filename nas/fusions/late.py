"""`late`: fusion of the modalities' own decisions (Baltrušaitis et al., arXiv 1705.09406)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import masked_softmax
from nas.fusions._inputs import VectorFusion
from nas.registry import register


@register("fusion", "late")
class LateFusion(VectorFusion):
    """A linear head per modality, averaged with learned weights: Σ_m softmax(a)_m · head_m(h_m).

    The weights are those of the modalities that are there, of shape `(M, B)`; all start equal.

    Args:
        dims: Width of every modality's vector.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    name = "late"

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        count = len(self.dims)
        self.scores = nn.Parameter(torch.full((count,), 1 / count))
        self.heads = nn.ModuleList(nn.Linear(width, self.out_dim) for width in self.dims)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Σ_m softmax(a)_m · head_m(h_m)."""
        outputs = torch.stack([head(vectors) for head, vectors in zip(self.heads, features, strict=True)])
        keep = None if present is None else present.T
        weights = masked_softmax(self.scores[:, None].expand(outputs.shape[:2]), keep, 0)
        return (weights[..., None] * outputs).sum(0), weights
