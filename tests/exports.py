"""Small networks with every component of the package in them, and what is asked of their exports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, cycle
from typing import Any

import torch

import nas
from nas.datasets import Batch
from nas.modality import ModalitySpec, Task
from nas.network import Network, build
from nas.registry import available, get, uninstalled, unset
from nas.results.exported import Description
from nas.space import Architecture
from nas.sparse import SparseLinear
from nas.sparse.backends import BACKENDS

DIM, SAMPLES = 8, 5
MODALITIES = {
    "image": ModalitySpec("image", (1, 8, 8)),
    "audio": ModalitySpec("audio", (1, 16, 16)),
    "text": ModalitySpec("text", (6,), 9),
    "vector": ModalitySpec("vector", (6,), columns=(1, 1, 1, 3)),
}
ENCODERS = {"image": "cnn", "audio": "conv1d", "text": "bag", "vector": "identity"}  # the rest of a network
TASKS = {
    "classification": Task("classification", ("a", "b", "c")),
    "multilabel": Task("multilabel", ("a", "b", "c")),
    "regression": Task("regression", ("a", "b"), center=(10.0, -1.0), scale=(3.0, 0.5)),
}


@dataclass(frozen=True)
class Example:
    """A network that is to be exported.

    Args:
        names: What it is an example of, by slot.
        slots: What its architecture has beside the simplest.
        modalities: Names of those that it reads.
        task: What it predicts.
        missing: Whether modalities are missing in the data.
        backend: How its sparse layers are computed; None: as the rule says.
        frozen: Whether what is learned of its wiring is fixed.
    """

    names: Mapping[str, str]
    slots: Mapping[str, Any] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("vector", "audio", "text")
    task: str = "classification"
    missing: bool = False
    backend: str | None = None
    frozen: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{slot} {name}" for slot, name in self.names.items())

    @property
    def description(self) -> Description:
        """What rebuilds the network."""
        specs = {name: MODALITIES[name] for name in self.modalities}
        encoders = {name: {ENCODERS[name]: {}} for name in specs} | dict(self.slots.get("encoders", {}))
        tree = {"dim": DIM, "connector": {"none": {}}, "fusion": {"concat": {}}, "head": {"linear": {}}}
        return Description(
            Architecture(tree | dict(self.slots) | {"encoders": encoders}), specs, TASKS[self.task]
        )

    def build(self, seed: int = 3) -> Network:
        """The network with random weights, and edges that have changed since it was built."""
        description = self.description
        network = build(description.architecture, description.modalities, description.task, seed).eval()
        for layer in network.modules():
            if isinstance(layer, SparseLinear):
                layer.backend = self.backend
                if self.frozen:
                    layer.freeze()
                    layer.rewire(torch.arange(len(layer.weight)) % 5 > 0)
        return network

    def batch(self) -> Batch:
        """Samples that it reads."""
        generator = torch.Generator().manual_seed(4)
        inputs = {
            name: torch.randint(1, spec.vocabulary, (SAMPLES, *spec.shape), generator=generator)
            if spec.kind == "text"
            else torch.randn(SAMPLES, *spec.shape, generator=generator)
            for name, spec in self.description.modalities.items()
        }
        if "vector" in inputs:
            inputs["vector"][:, 3:] = torch.eye(3)[torch.arange(SAMPLES) % 3]
        masks = {}
        if "text" in inputs:
            masks["text"] = torch.arange(6) < torch.arange(1, SAMPLES + 1)[:, None]
        present = None
        if self.missing:
            present = torch.ones(SAMPLES, len(inputs), dtype=torch.bool)
            present[torch.arange(SAMPLES), torch.arange(SAMPLES) % len(inputs)] = False
        return Batch(inputs, torch.zeros(SAMPLES, dtype=torch.long), masks, present)


def own(kind: str) -> list[str]:
    """Components of the package that can be built as they are."""
    return [
        name
        for name in available(kind)
        if get(kind, name).__module__.startswith("nas.")
        and not unset(kind, get(kind, name))
        and not uninstalled(get(kind, name))
    ]


def _fits(fusion: str, count: int) -> bool:
    """Whether a fusion joins so many modalities."""
    try:
        nas.create("fusion", fusion, dims=[DIM] * count)
    except ValueError:
        return False
    return True


def _connected(topology: str, backend: str, frozen: bool = True) -> Example:
    settings = {"layers": 1, "topology": {topology: {}}, "rewiring": {"none": {}}}
    names = {"topology": topology, "product": backend, **({} if frozen else {"wiring": "not frozen"})}
    return Example(names, {"connector": {"small_world": settings}}, backend=backend, frozen=frozen)


def _reading(modality: str) -> list[str]:
    """The encoders of a modality."""
    return [name for name in own("encoder") if modality in get("encoder", name).kinds]


def _encoders() -> Iterator[Example]:
    for modality in MODALITIES:
        for name in _reading(modality):
            yield Example(
                {"encoder": name, "modality": modality}, {"encoders": {modality: {name: {}}}}, (modality,)
            )


def _fusions() -> Iterator[Example]:
    for name in own("fusion"):
        modalities = ("vector", "audio", "text")[: 3 if _fits(name, 3) else 2]
        for missing in (False, True):
            yield Example({"fusion": name}, {"fusion": {name: {}}}, modalities, missing=missing)


def _wirings() -> Iterator[Example]:
    for name in own("topology"):
        for backend in BACKENDS:
            yield _connected(name, backend)
        if name.startswith("learnable"):
            yield _connected(name, "dense", frozen=False)


def _rest() -> Iterator[Example]:
    for name in own("head"):
        yield Example({"head": name}, {"head": {name: {}}})
    for task in TASKS:
        yield Example({"task": task}, task=task)
    yield Example({"stand_in": "learned"}, {"stand_in": "learned"}, missing=True)
    sparse = {"vector": {"mlp": {"sparsify": {"topology": {"erdos_renyi": {"density": 0.3}}}}}}
    yield Example({"sparsify": "erdos_renyi"}, {"encoders": sparse})


def every() -> Iterator[Example]:
    """A network for every component alone, the rest of it as simple as can be."""
    return chain(_encoders(), _fusions(), _wirings(), _rest())


def covering() -> Iterator[Example]:
    """Few networks that have every component in one of them: one for every fusion, with much else in it."""
    encoders = {name: iter(_reading(name)) for name in MODALITIES}
    topologies, backends, frozen = iter(own("topology")), cycle(BACKENDS), cycle((True, True, False))
    heads, tasks, missing = cycle(own("head")), cycle(TASKS), cycle((False, True))
    fusions = sorted(own("fusion"), key=_consumes_tokens)  # these cost most, and come with the simplest rest
    for index, fusion in enumerate(fusions):
        names = _turned(index, 3 if _fits(fusion, 3) else 2)
        chosen = {name: next(encoders[name], ENCODERS[name]) for name in names}
        topology, head, task = next(topologies, None), next(heads), next(tasks)
        wired = _connected(topology, next(backends), next(frozen)) if topology else Example({})
        slots = {"encoders": {name: {encoder: {}} for name, encoder in chosen.items()}}
        slots |= dict(wired.slots) | {"fusion": {fusion: {}}, "head": {head: {}}}
        labels = {"fusion": fusion, "head": head, "task": task} | dict(wired.names) | chosen
        yield replace(wired, names=labels, slots=slots, modalities=names, task=task, missing=next(missing))


def _consumes_tokens(fusion: str) -> bool:
    return getattr(get("fusion", fusion), "consumes", "vectors") == "tokens"


def _turned(start: int, count: int) -> tuple[str, ...]:
    """So many modalities, other ones for every start."""
    names = list(MODALITIES)
    return tuple(names[(start + step) % len(names)] for step in range(count))
