"""`film`: feature-wise linear modulation (Perez et al., arXiv 1709.07871)."""

from collections.abc import Sequence

from torch import Tensor, nn

from nas.fusions._inputs import VectorFusion, projections
from nas.registry import register
from nas.space import Modality


@register("fusion", "film")
class FiLMFusion(VectorFusion):
    """Σ_m γ_m(c) ⊙ h_m + β_m(c) over the modalities m but the conditioning one, whose vector is c.

    γ_m(c) = 1 + W_m c + w_m and β_m(c) = V_m c + v_m, so that the modulation starts near the identity.
    Vectors of another width than the fused one are projected to it. An absent h_m is zeros, and leaves
    β_m(c); where c is absent, nothing is modulated: γ = 1 and β = 0.

    Args:
        dims: Width of every modality's vector, of two modalities at least.
        condition: Number of the conditioning modality, from 0.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: There are fewer than two modalities, or none has the number of the conditioning one.
    """

    domains = {"condition": Modality()}
    name = "film"
    modalities = (2, None)

    def __init__(self, dims: Sequence[int], condition: int = 0, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        if condition not in range(len(self.dims)):
            raise ValueError(
                f"there is no modality {condition} to condition on; give 0 to {len(self.dims) - 1}"
            )
        self.condition = condition
        self.modulated = [index for index in range(len(self.dims)) if index != condition]
        self.project = projections([self.dims[index] for index in self.modulated], self.out_dim)
        self.modulate = nn.ModuleList(
            nn.Linear(self.dims[condition], 2 * self.out_dim) for _ in self.modulated
        )

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Σ_m γ_m(c) ⊙ h_m + β_m(c)."""
        fused = features[0].new_zeros(())
        for index, project, modulate in zip(self.modulated, self.project, self.modulate, strict=True):
            vectors, change = project(features[index]), modulate(features[self.condition])
            if present is not None:
                vectors = vectors.masked_fill(~present[:, index, None], 0)
                change = change.masked_fill(~present[:, self.condition, None], 0)
            scale, shift = change.chunk(2, 1)
            fused = fused + (1 + scale) * vectors + shift
        return fused, None
