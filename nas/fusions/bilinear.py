"""`bilinear`: low-rank bilinear pooling: MFB (arXiv 1708.01471) and MUTAN (arXiv 1705.06676)."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Choice, Int

TINY = 1e-6  # keeps the gradient of the square root finite at 0


@register("fusion", "bilinear")
class BilinearFusion(VectorFusion):
    """Sum-pooled low-rank bilinear fusion: s = Σ_r Π_m U_m^r v_m, of any number of modalities.

    - `mfb`: v_m = h_m; y = sign(s)√|s| / ‖·‖₂ (Yu et al., Multi-modal factorized bilinear pooling,
      with its power and l2 normalisation, without its dropout).
    - `mutan`: v_m = tanh(V_m h_m); y = O s (Ben-younes et al., the rank-constrained Tucker fusion).

    An absent modality is the neutral element of the product.

    Args:
        dims: Width of every modality's vector.
        variant: `mfb` or `mutan`.
        rank: Number of summands.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: There is no such variant.
    """

    domains = {"variant": Choice("mfb", "mutan"), "rank": Int(1, 8)}
    name = "bilinear"

    def __init__(
        self, dims: Sequence[int], variant: str = "mfb", rank: int = 4, out_dim: int | None = None
    ) -> None:
        super().__init__(dims, out_dim)
        if variant not in ("mfb", "mutan"):
            raise ValueError(f"{variant!r} is no variant of bilinear; allowed: mfb, mutan")
        width = self.out_dim
        self.rank = rank
        self.compress, widths = None, self.dims
        if variant == "mutan":
            self.compress = nn.ModuleList(nn.Linear(dim, width) for dim in self.dims)
            self.linear, widths = nn.Linear(width, width), (width,) * len(self.dims)
        self.factors = nn.ModuleList(nn.Linear(dim, rank * width) for dim in widths)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Σ_r Π_m U_m^r v_m, ahead of it V_m and after it O (mutan), or normalised (mfb)."""
        if self.compress is not None:
            features = [layer(vectors).tanh() for layer, vectors in zip(self.compress, features, strict=True)]
        parts = [factor(vectors) for factor, vectors in zip(self.factors, features, strict=True)]
        if present is not None:
            parts = [part.masked_fill(~present[:, index, None], 1) for index, part in enumerate(parts)]
        pooled = reduce(torch.mul, parts).unflatten(1, (self.rank, self.out_dim)).sum(1)
        if self.compress is not None:
            return self.linear(pooled), None
        return F.normalize(pooled / (pooled.abs() + TINY).sqrt()), None
