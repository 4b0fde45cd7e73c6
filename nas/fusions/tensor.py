"""`tensor`: the tensor fusion network (Zadeh et al., arXiv 1707.07250)."""

import math
from collections.abc import Sequence
from functools import reduce

from torch import Tensor, nn
from torch.nn import functional as F

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Choice


@register("fusion", "tensor")
class TensorFusion(VectorFusion):
    """[1; P_1 h_1] ⊗ … ⊗ [1; P_M h_M] → linear: every product of features of different modalities.

    The outer product would have Π_m (d_m + 1) entries; the layers P_m first reduce the vectors, to one
    width, so that there are no more than `entries`. An absent modality is [1; 0], the neutral element:
    the products of the others remain.

    Args:
        dims: Width of every modality's vector, six at most.
        entries: Largest number of entries of the outer product, at least 2^M.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: There are more than six modalities, or too few entries for them.
    """

    domains = {"entries": Choice(64, 256, 1024, 4096)}
    name = "tensor"
    modalities = (1, 6)

    def __init__(self, dims: Sequence[int], entries: int = 1024, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        count = len(self.dims)
        if entries < 2**count:
            raise ValueError(f"{count} modalities need at least {2**count} entries, not {entries}")
        widest = max(side for side in range(2, entries + 1) if side**count <= entries) - 1
        widths = [min(widest, dim) for dim in self.dims]
        self.reduce = nn.ModuleList(
            nn.Linear(dim, width) for dim, width in zip(self.dims, widths, strict=True)
        )
        self.linear = nn.Linear(math.prod(width + 1 for width in widths), self.out_dim)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Linear([1; P_1 h_1] ⊗ … ⊗ [1; P_M h_M])."""
        reduced = [layer(vectors) for layer, vectors in zip(self.reduce, features, strict=True)]
        if present is not None:
            reduced = [
                vectors.masked_fill(~present[:, index, None], 0) for index, vectors in enumerate(reduced)
            ]
        factors = [F.pad(vectors, (1, 0), value=1.0) for vectors in reduced]
        return self.linear(reduce(_outer, factors)), None


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """`(B, p)` and `(B, q)` to the products of all pairs, `(B, p · q)`."""
    return (left[:, :, None] * right[:, None]).flatten(1)
