"""`parameters`: how many numbers a network learns."""

from nas.objectives import Context
from nas.objectives._weights import stored_weights
from nas.registry import register


@register("objective", "parameters")
class Parameters:
    """Trainable scalars that exist; an edge that a sparse layer does not have is not counted.

    Where a rewiring rule prunes, the network counts as it is after the training.
    """

    direction = "minimize"
    cheap = True
    logged = True

    def __call__(self, context: Context) -> float:
        """The number of trainable scalars, exact before training."""
        return stored_weights(context.network)
