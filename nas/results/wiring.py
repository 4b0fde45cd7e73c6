"""The wiring of a run's networks, read back from what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass

from safetensors.torch import load_file

from nas.evaluation import untrained
from nas.results.exported import told
from nas.results.records import Record
from nas.results.run_directory import RunDirectory
from nas.topologies import Edges
from nas.training.wiring import sparse_layers


@dataclass(frozen=True)
class Wiring:
    """One sparse layer of a trial's network.

    Args:
        layer: Its place in the network, such as `connector.layers.0`.
        start: Its edges before training.
        edges: Its edges after training.
        segments: Width of each of the segments into which its units are divided, by name; else None.
    """

    layer: str
    start: Edges
    edges: Edges
    segments: Mapping[str, int] | None = None

    @property
    def changed(self) -> bool:
        """Whether the training has changed the edges."""
        return self.start != self.edges


def wirings(run: RunDirectory, record: Record) -> list[Wiring]:
    """Every sparse layer of a trial's network, in the order of the network.

    Where the trained weights are not kept, the wiring is that before training.

    Raises:
        RequestError: The network cannot be rebuilt, because a file that it reads is gone, say.
    """
    with told(f"the network of trial {record.number} cannot be rebuilt"):
        network = untrained(record.architecture, *run.data(), record.seed)
        start = {name: layer.edges for name, layer in sparse_layers(network)}
        if run.weights(record.number).exists():
            network.load_state_dict(load_file(run.weights(record.number)))
    return [
        Wiring(name, start[name], layer.edges, _named(layer.segments, list(network.encoders)))
        for name, layer in sparse_layers(network)
    ]


def _named(segments: list[int] | None, modalities: list[str]) -> dict[str, int] | None:
    """The segments by modality, or by number where they are not the modalities'."""
    if segments is None:
        return None
    numbers = [str(number) for number in range(1, len(segments) + 1)]
    names = modalities if len(modalities) == len(segments) else numbers
    return dict(zip(names, segments, strict=True))
