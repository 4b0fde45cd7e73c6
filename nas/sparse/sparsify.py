"""Sparse layers in the place of a module's linear ones."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from nas.seeds import derive
from nas.sparse.linear import SparseLinear


def sparsify(
    module: nn.Module,
    topology: Any | str | Mapping[str, Any],
    rewiring: Any | str | Mapping[str, Any] = "none",
    seed: int = 0,
) -> nn.Module:
    """Replace every `nn.Linear` inside a module, in place, by a sparse layer of the same shape.

    The weights are drawn anew; each layer has its own wiring and rule. A layer used in two places is
    one layer again. Subclasses of `nn.Linear` stay, because those of torch are read by their
    owners as dense matrices (`nn.MultiheadAttention`).

    Args:
        module: What holds the linear layers.
        topology: Topology of every layer: an object, a name, or `{name: settings}`.
        rewiring: Rule that changes the edges in training, given likewise.
        seed: Seed of the wirings.

    Returns:
        The module itself.

    Raises:
        ValueError: There is no linear layer, or the topology cannot wire one of them.
    """
    linear = {name: part for name, part in module.named_modules() if name and type(part) is nn.Linear}
    if not linear:
        raise ValueError(f"{type(module).__name__} holds no nn.Linear that could become sparse")
    sparse = {
        id(part): _like(part, topology, rewiring, derive(seed, "sparsify", name))
        for name, part in linear.items()
    }
    for parent in list(module.modules()):
        for name, part in list(parent._modules.items()):
            if id(part) in sparse:
                setattr(parent, name, sparse[id(part)])
    return module


def _like(linear: nn.Linear, topology: Any, rewiring: Any, seed: int) -> SparseLinear:
    layer = SparseLinear(
        linear.in_features,
        linear.out_features,
        topology,
        bias=linear.bias is not None,
        rewiring=rewiring,
        seed=seed,
    )
    return layer.to(linear.weight).train(linear.training)
