"""`mlp`: layers over a vector of numbers."""

from itertools import pairwise

from torch import Tensor, nn

from nas.modality import ModalitySpec, check_spec
from nas.registry import register
from nas.space import Float, Int


@register("encoder", "mlp")
class MLPEncoder(nn.Module):
    """`layers` times linear → ReLU → dropout, then linear: one token per vector.

    h_i = ReLU(W_i h_{i-1} + b_i), with h_0 the vector (Rumelhart et al., Nature 323, 1986).

    Args:
        spec: The modality, of shape `(features,)`.
        dim: Width of the token.
        width: Width of the hidden layers.
        layers: Number of hidden layers.
        dropout: Share of the hidden units that are dropped during training.

    Raises:
        ValueError: The modality is no vector.
    """

    domains = {"width": Int(16, 256, log=True), "layers": Int(1, 3), "dropout": Float(0.0, 0.5, fusible=True)}
    kinds = ("vector",)
    layouts = {"vector": ((1,),)}

    def __init__(
        self, spec: ModalitySpec, dim: int, width: int = 64, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_spec(type(self), spec)
        sizes = [spec.shape[0], *[width] * layers]
        hidden = [
            nn.Sequential(nn.Linear(one, other), nn.ReLU(), nn.Dropout(dropout))
            for one, other in pairwise(sizes)
        ]
        self.hidden = nn.Sequential(*hidden)
        self.project = nn.Linear(sizes[-1], dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Vectors `(B, features)` to one token each, `(B, 1, dim)`."""
        tokens: Tensor = self.project(self.hidden(x))
        return tokens[:, None]
