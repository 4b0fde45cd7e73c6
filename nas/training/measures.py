"""What the wiring of a network is like: measures of every sparse layer's graph."""

from typing import Any, TypeAlias

import numpy as np
from torch import nn

from nas.sparse import SparseLinear
from nas.topologies import Edges, measure
from nas.training.wiring import Wiring, sparse_layers

MOST_WALKS = 10**8  # of two steps, which take a second in a square graph and three in a bipartite one

Measures: TypeAlias = dict[str, dict[str, Any]]


def wiring_measures(network: nn.Module, wiring: Wiring | None = None) -> Measures:
    """By sparse layer: `nas.topologies.measure` of its edges as they are, and its `exploration`.

    Of a layer whose graph is too dense to be measured in seconds, only `edges` and `density`.

    Args:
        network: The network.
        wiring: Its wiring in training, which knows the share of the positions of each evolving layer
            that were ever edges.
    """
    explored = {name: layer.explored for name, layer in wiring.evolving.items()} if wiring else {}
    return {
        name: _measures(layer) | ({"exploration": explored[name]} if name in explored else {})
        for name, layer in sparse_layers(network)
    }


def _measures(layer: SparseLinear) -> dict[str, Any]:
    edges = layer.edges
    if _walks(edges) > MOST_WALKS:
        return {"edges": len(edges), "density": edges.density}
    return measure(edges, layer.segments)


def _walks(edges: Edges) -> int:
    """About how many walks of two steps the measures go."""
    fans = (np.bincount(ends) for ends in (edges.target, edges.source))
    return int(sum(fan @ fan for fan in fans))
