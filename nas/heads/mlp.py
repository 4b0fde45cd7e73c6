"""`mlp`: one hidden layer."""

from torch import Tensor, nn

from nas.registry import register
from nas.space import Float, Int


@register("head", "mlp")
class MLPHead(nn.Module):
    """Linear → ReLU → dropout → linear.

    W₂ ReLU(W₁ h + b₁) + b₂: one layer of hidden units (Rumelhart et al., Nature 323, 1986).

    Args:
        in_dim: Width of the fused vector.
        out_dim: Number of outputs.
        hidden: Width of the hidden layer.
        dropout: Share of the hidden units that are dropped during training.
    """

    domains = {"hidden": Int(16, 256, log=True), "dropout": Float(0.0, 0.5, fusible=True)}

    def __init__(self, in_dim: int, out_dim: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(hidden, out_dim)

    def forward(self, fused: Tensor) -> Tensor:
        """`(B, in_dim)` to `(B, out_dim)`."""
        outputs: Tensor = self.linear2(self.dropout(self.linear1(fused).relu()))
        return outputs
