"""The wiring of a run's networks, read back from what is stored."""

from dataclasses import dataclass

from nas.network import Network, build
from nas.results.run_directory import RunDirectory
from nas.space import Architecture
from nas.sparse import SparseLinear
from nas.topologies import Edges


@dataclass(frozen=True)
class Wiring:
    """One sparse layer of a network.

    Args:
        layer: Its place in the network, such as `connector.layers.0`.
        edges: Its edges, as they were after training.
        segments: Width of every modality's segment, where the layer spans all modalities; else None.
    """

    layer: str
    edges: Edges
    segments: list[int] | None


def load_network(run: RunDirectory, number: int, architecture: Architecture) -> Network:
    """The network of a trial with its trained weights, where they are kept."""
    modalities, task = run.data()
    network = build(architecture, modalities, task)
    if run.weights(number).exists():
        from safetensors.torch import load_file

        network.load_state_dict(load_file(run.weights(number)))
    return network


def wirings(network: Network, dim: int) -> list[Wiring]:
    """Every sparse layer of a network whose modalities' features are `dim` wide."""
    segments = [dim] * len(network.encoders)
    return [
        Wiring(
            name, layer.edges, segments if layer.in_features == layer.out_features == sum(segments) else None
        )
        for name, layer in network.named_modules()
        if isinstance(layer, SparseLinear)
    ]
