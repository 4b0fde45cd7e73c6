"""`sparse_mlp`: one hidden layer that is wired sparsely."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nas.registry import register
from nas.space import Component, Float, Int
from nas.sparse import SparseLinear


@register("head", "sparse_mlp")
class SparseMLPHead(nn.Module):
    """Sparse linear → ReLU → dropout → linear.

    W₂ ReLU((W₁ ∘ mask) h + b₁) + b₂, where the mask holds the edges of a topology; the default, a random
    graph, is that of SET (Mocanu et al., arXiv 1707.04780).

    Args:
        in_dim: Width of the fused vector.
        out_dim: Number of outputs.
        hidden: Width of the hidden layer.
        topology: Topology of the hidden layer: an object, a name, or `{name: settings}`.
        rewiring: Rule that changes its edges in training, given likewise.
        dropout: Share of the hidden units that are dropped during training.
        seed: Seed of the wiring.

    Raises:
        ValueError: The topology cannot wire a layer of these sizes.
    """

    domains = {
        "hidden": Int(16, 256, log=True),
        "topology": Component("topology", {"rectangular": True}),
        "rewiring": Component("rewiring"),
        "dropout": Float(0.0, 0.5, fusible=True),
    }

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden: int = 64,
        topology: Any | str | Mapping[str, Any] = "erdos_renyi",
        rewiring: Any | str | Mapping[str, Any] = "none",
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sparse = SparseLinear(in_dim, hidden, topology, rewiring=rewiring, seed=seed)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, out_dim)

    def forward(self, fused: Tensor) -> Tensor:
        """`(B, in_dim)` to `(B, out_dim)`."""
        outputs: Tensor = self.linear(self.dropout(self.sparse(fused).relu()))
        return outputs
