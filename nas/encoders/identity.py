"""`identity`: features that another network has made."""

from torch import Tensor, nn

from nas.modality import ModalitySpec, check_spec
from nas.registry import register


@register("encoder", "identity")
class IdentityEncoder(nn.Module):
    """The vector itself, or a linear map of it where its width is another: one token.

    For features that a large network has made once and that lie on disk.

    Args:
        spec: A vector `(features,)`, or a sequence of them `(T, features)`: as many tokens.
        dim: Width of the token.

    Raises:
        ValueError: The modality is no vector.
    """

    kinds = ("vector",)
    layouts = {"vector": ((1,), (1, 1))}

    def __init__(self, spec: ModalitySpec, dim: int) -> None:
        super().__init__()
        check_spec(type(self), spec)
        self.rank = len(spec.shape) + 1
        same = spec.shape[-1] == dim
        self.project = nn.Identity() if same else nn.Linear(spec.shape[-1], dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Vectors `(B, features)` or `(B, T, features)` to tokens `(B, T, dim)`."""
        if x.ndim != self.rank:
            raise ValueError(
                f"{tuple(x.shape)} has {x.ndim} axes; {self.rank} expected, the batch's included"
            )
        tokens: Tensor = self.project(x)
        return tokens if x.ndim == 3 else tokens[:, None]
