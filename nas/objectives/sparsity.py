"""`sparsity`: the share of the dense network's weights that need not be stored."""

from nas.objectives import Context
from nas.objectives._weights import dense_weights, stored_weights
from nas.registry import register


@register("objective", "sparsity")
class Sparsity:
    """1 - stored weights / weights of the same network with dense layers, 0 to 1.

    Weights are all trainable scalars; a sparse layer counts with its edges in the network as it is,
    and with every position in the dense one. Where a rewiring rule prunes, the network counts as it
    is after the training.
    """

    direction = "maximize"
    cheap = True
    logged = True

    def __call__(self, context: Context) -> float:
        """The sparsity of the network, exact before training."""
        return 1 - stored_weights(context.network) / dense_weights(context.network)
