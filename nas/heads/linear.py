"""`linear`: one linear layer."""

from torch import Tensor, nn

from nas.registry import register


@register("head", "linear")
class LinearHead(nn.Module):
    """W h + b.

    Args:
        in_dim: Width of the fused vector.
        out_dim: Number of outputs.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, fused: Tensor) -> Tensor:
        """`(B, in_dim)` to `(B, out_dim)`."""
        outputs: Tensor = self.linear(fused)
        return outputs
