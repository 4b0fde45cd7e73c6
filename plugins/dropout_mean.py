"""A fusion written as a stranger would write it: against the public interface alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import nas


@nas.register("fusion", "dropout_mean")
class DropoutMeanFusion(nn.Module):
    """Average of the modalities that are there, after dropout."""

    domains = {"dropout": nas.Float(0.0, 0.5)}

    def __init__(self, dims: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        if len(set(dims)) > 1:
            raise ValueError(f"dropout_mean needs modalities of one width, not {list(dims)}")
        self.out_dim = dims[0]
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, features: list[Tensor], present: Tensor | None = None, return_gates: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, object]]:
        """Vectors `(B, d)`, one per modality, to their average `(B, d)`."""
        stacked = torch.stack(features)
        there = (
            torch.ones_like(stacked[..., :1], dtype=torch.bool) if present is None else present.T[..., None]
        )
        total = stacked.masked_fill(~there, 0).sum(0)
        fused = self.dropout(total / there.sum(0).clamp(min=1))
        return (fused, {"type": "dropout_mean", "weights": None}) if return_gates else fused
