"""What the objectives share that count weights."""

from nas.network import Network
from nas.sparse import SparseLinear


def stored_weights(network: Network) -> int:
    """Trainable scalars of a network after its training, known before it.

    Those that are there now, without the edges that its rewiring rules will have pruned by then.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, SparseLinear)]
    pruned = sum(len(layer.weight) - layer.final_edges for layer in layers)
    return sum(p.numel() for p in network.parameters() if p.requires_grad) - pruned


def dense_weights(network: Network) -> int:
    """The same with dense layers in the place of the sparse ones, every position a weight."""
    layers = [layer for layer in network.modules() if isinstance(layer, SparseLinear)]
    saved = sum(layer.in_features * layer.out_features - layer.final_edges for layer in layers)
    return stored_weights(network) + saved
