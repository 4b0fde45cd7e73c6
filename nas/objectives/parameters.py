"""`parameters`: how many numbers a network learns."""

from nas.objectives import Context
from nas.registry import register


@register("objective", "parameters")
class Parameters:
    """Trainable scalars that exist; an edge that a sparse layer does not have is not counted."""

    direction = "minimize"
    cheap = True
    logged = True

    def __call__(self, context: Context) -> float:
        """The number of trainable scalars."""
        return sum(p.numel() for p in context.network.parameters() if p.requires_grad)
