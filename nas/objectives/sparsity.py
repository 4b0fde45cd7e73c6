"""`sparsity`: the share of the dense network's weights that need not be stored."""

from nas.objectives import Context
from nas.registry import register
from nas.sparse import SparseLinear


@register("objective", "sparsity")
class Sparsity:
    """1 - stored weights / weights of the same network with dense layers, 0 to 1.

    Weights are all trainable scalars; a sparse layer counts with its edges in the network as it is,
    and with every position in the dense one.
    """

    direction = "maximize"
    cheap = True
    logged = True

    def __call__(self, context: Context) -> float:
        """The sparsity of the network, exact before training."""
        stored = sum(p.numel() for p in context.network.parameters() if p.requires_grad)
        layers = [layer for layer in context.network.modules() if isinstance(layer, SparseLinear)]
        saved = sum(layer.in_features * layer.out_features - len(layer.edges) for layer in layers)
        return saved / (stored + saved)
