"""Whether what a network learns of its wiring is a finding: searches from several starts have to agree."""

import copy
from collections.abc import Callable

import numpy as np
import torch

from nas.network import Network
from nas.seeds import derive
from nas.sparse import SparseLinear, identifiability
from nas.training.measures import Measures
from nas.training.wiring import sparse_layers

STARTS = (0.1, 0.5, 0.9)


def verdicts(network: Network, search: Callable[[Network, int], object], seed: int) -> Measures:
    """By learnable layer: what searches from each of `STARTS` end with, and whether they agree.

    Every search has random sources and weights of its own in the learnable layers, and its own order
    of the batches; so agreement means that neither the start nor the draw decides.

    Args:
        network: The network before its training; it stays as it is.
        search: Trains a network with a seed until its wiring is frozen.
        seed: Seed of everything random.

    Returns:
        By layer `identifiable`, the `spread` of the results, and the shares themselves by
        `beta_from/<start>` or `budgets_from/<start>/<row>/<column>`; nothing without learnable layers.
    """
    learnable = [name for name, layer in sparse_layers(network) if layer.searching]
    if not learnable:
        return {}
    found: list[dict[str, SparseLinear]] = []
    for start in STARTS:
        own = copy.deepcopy(network)
        layers = {name: layer for name, layer in sparse_layers(own) if name in learnable}
        own_seed = derive(seed, "identifiability", str(start))
        torch.manual_seed(own_seed)
        for name, layer in layers.items():
            layer.restart(start, derive(own_seed, name))
        search(own, own_seed)
        found.append(layers)
    return {name: _verdict([layers[name] for layers in found]) for name in learnable}


def _verdict(layers: list[SparseLinear]) -> dict[str, float]:
    """The verdict on one layer, which was searched from every start."""
    kind = "beta" if layers[0].budgets is None else "budgets"
    results = [getattr(layer, kind).detach().cpu().numpy() for layer in layers]
    found = identifiability(results)
    return {"identifiable": found.identifiable, "spread": found.spread} | {
        "/".join([f"{kind}_from", str(start), *map(str, index)]): float(share)
        for start, shares in zip(STARTS, results, strict=True)
        for index, share in np.ndenumerate(shares)
    }
