"""Topologies: generators of the edges between the units of a sparse layer.

A topology is a component in a file of this folder. It is constructed from its hyper-parameters and
gives `Edges`: `topology.edges(out_features, in_features, segments=None, seed=0)`. Nothing here
imports torch.
"""

from nas.topologies._edges import Edges
from nas.topologies._measures import measure
from nas.topologies._topology import Topology

__all__ = ["Edges", "Topology", "measure"]
