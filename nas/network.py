"""From an architecture and a dataset's modalities to a torch network."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import RequestError, near_misses
from nas.modality import ModalitySpec, Task
from nas.registry import create_selected, get
from nas.space import Architecture
from nas.space.domains import ranges_over_modalities
from nas.space.presence import used
from nas.sparse import SparseLinear, sparsify


class Network(nn.Module):
    """Encoders, connector, fusion and head in a row.

    The connector works on one vector per modality, the mean of its tokens. A fusion that consumes
    tokens gets those of the encoders, each moved by what the connector has added to that vector.

    Args:
        encoders: By modality, in the dataset's order. An encoder whose tokens are not those of its mask
            one by one has a method `token_mask`, from the mask `(B, T_in)` to that of its tokens `(B, T)`.
        connector: Exchange between the modalities' features.
        fusion: From one feature vector per modality, or from their tokens, to one vector.
        head: From the fused vector to the outputs.
        task: What the outputs predict.
        modalities: Names of the dataset's modalities, in its order; those of the encoders are among them.
        stand_ins: By modality, a vector that stands for its tokens where it is absent; the fusion then takes
            it for present. Empty: zeros stand for it, and the fusion is told.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        connector: nn.Module,
        fusion: nn.Module,
        head: nn.Module,
        task: Task,
        modalities: Sequence[str],
        stand_ins: Mapping[str, nn.Parameter],
    ) -> None:
        super().__init__()
        self.task = task
        self.modalities = tuple(modalities)
        self.columns = [self.modalities.index(name) for name in encoders]
        self.stand_ins: Any = nn.ParameterDict(stand_ins) if stand_ins else {}
        self.encoders = nn.ModuleDict(encoders)
        self.connector = connector
        self.fusion = fusion
        self.head = head
        self.watchers: Any = []  # functions that are told the `features` of every call
        self._fuses_tokens = _consumes_tokens(fusion)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        present: Tensor | None = None,
        return_gates: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Any]]:
        """Outputs `(B, out_dim)` for a batch of inputs, with the fusion's gates when asked for.

        Args:
            inputs: By modality: `(B, …)`.
            masks: By modality: bool `(B, T)`, true for real tokens; of a text without one, all ids but 0.
            present: bool `(B, M)` over the dataset's modalities; None where every one is there.
            return_gates: Return `(outputs, {"type", "weights"})`.
        """
        present = None if present is None else present[:, self.columns]
        tokens, real = self._encoded(inputs, masks or {}, present)
        present = None if self.stand_ins else present
        pooled = [_pool(values, mask) for values, mask in zip(tokens, real, strict=True)]
        for watcher in self.watchers:
            watcher(dict(zip(self.encoders, pooled, strict=True)))
        features, further = self.connector(pooled), {}
        if self._fuses_tokens:
            moves = [(mixed - vector)[:, None] for mixed, vector in zip(features, pooled, strict=True)]
            features = [values + move for values, move in zip(tokens, moves, strict=True)]
            further = {"masks": real}
        if not return_gates:
            return self.head(self.fusion(features, present, **further))
        fused, gates = self.fusion(features, present, return_gates=True, **further)
        return self.head(fused), gates

    def features(
        self,
        inputs: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        present: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Every modality's own features `(B, d)`, as they go to the connector; arguments as of a call."""
        present = None if present is None else present[:, self.columns]
        tokens, real = self._encoded(inputs, masks or {}, present)
        parts = zip(self.encoders, tokens, real, strict=True)
        return {name: _pool(values, mask) for name, values, mask in parts}

    def _encoded(
        self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor], present: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Every modality's tokens `(B, T, d)`, and which of them are real."""
        tokens, real = [], []
        for index, (name, encoder) in enumerate(self.encoders.items()):
            there = None if present is None else present[:, index]
            mask = _input_mask(inputs[name], masks.get(name))
            encoded = encoder(_or_zeros(inputs[name], there), mask)
            tokens.append(self._or_stand_in(name, encoded, there))
            real.append(self._real(name, _token_mask(encoder, encoded, mask), there))
        return tokens, real

    def _or_stand_in(self, name: str, tokens: Tensor, there: Tensor | None) -> Tensor:
        """A modality's tokens `(B, T, d)`, with what stands for them in the samples where it is absent."""
        if there is None or name not in self.stand_ins:
            return _or_zeros(tokens, there)
        return torch.where(there[:, None, None], tokens, self.stand_ins[name])

    def _real(self, name: str, mask: Tensor | None, there: Tensor | None) -> Tensor | None:
        """Which tokens are real; those that stand for an absent modality count as such."""
        if mask is None or there is None or name not in self.stand_ins:
            return mask
        return mask | ~there[:, None]


class Alone(nn.Module):
    """In the place of connector and fusion where a network uses one modality: its features pass through.

    Args:
        dims: Width of the modality's features, as a list of one.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = list(dims)
        [self.out_dim] = dims

    def forward(
        self, features: Sequence[Tensor], present: Tensor | None = None, return_gates: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Any]]:
        """The only features, `(B, d)`."""
        [alone] = features
        return (alone, {"type": "identity", "weights": None}) if return_gates else alone


class Rescale(nn.Module):
    """From standardised numbers to numbers in their own units.

    Args:
        center: Mean of every number.
        scale: Standard deviation of every number.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, center: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("center", torch.tensor(center), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """center + scale · values, `(B, out_dim)`."""
        return self.center + self.scale * values


def _consumes_tokens(fusion: nn.Module) -> bool:
    return getattr(fusion, "consumes", "vectors") == "tokens"


def _or_zeros(values: Tensor, there: Tensor | None) -> Tensor:
    """Zeros for the samples where a modality is absent, whatever stands there, NaN included."""
    if there is None:
        return values
    return values.masked_fill(~there.view(-1, *[1] * (values.dim() - 1)), 0)


def _input_mask(x: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask of a modality's inputs; of token ids without one, all ids but 0 are real."""
    if mask is None and x.dim() == 2 and not x.is_floating_point():
        return x != 0
    return mask


def _token_mask(encoder: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor | None:
    """Which of an encoder's tokens are real, bool `(B, T)`; None where all are."""
    if mask is None:
        return None
    own: Callable[[Tensor], Tensor] = getattr(encoder, "token_mask", lambda mask: mask)
    mask = own(mask)
    return mask if tokens.shape[1] > 1 and mask.shape[1] == tokens.shape[1] else None


def _pool(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the real tokens: `(B, T, d)` to `(B, d)`."""
    if tokens.shape[1] == 1:
        return tokens[:, 0]
    if mask is None:
        return tokens.mean(1)
    kept = mask[..., None]
    return tokens.masked_fill(~kept, 0).sum(1) / kept.sum(1).clamp(min=1)


def build(
    architecture: Architecture | Mapping[str, Any],
    modalities: Mapping[str, ModalitySpec],
    task: Task,
    seed: int = 0,
) -> Network:
    """Build the network of an architecture; the same seed gives the same weights.

    Args:
        architecture: A point of a search space.
        modalities: The dataset's modalities, by name.
        task: What the network predicts.
        seed: Seed of the initial weights. Torch's own generator is left as it was.

    Raises:
        RequestError: The architecture lacks a slot or an encoder, or names an unknown component.
        ValueError: A component refuses its hyper-parameters, or the connector does not fit the fusion.
    """
    tree = Architecture(architecture).to_data()
    encoders, dim = _slot(tree, "encoders"), _slot(tree, "dim")
    names = _used(tree, modalities)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # networks are built on the processor
        built = {name: _encoder(_slot(encoders, name), modalities[name], dim) for name in names}
        connector, fusion = _joint(tree, [dim] * len(names), [*map(list(modalities).index, names)])
        head = create_selected("head", _slot(tree, "head"), fusion.out_dim, task.out_dim)
    if task.center:
        head = nn.Sequential(head, Rescale(task.center, task.scale))
    learned = tree.get("stand_in", "zero") == "learned"
    stand_ins = {name: nn.Parameter(torch.zeros(dim)) for name in names if learned}
    return Network(built, connector, fusion, head, task, list(modalities), stand_ins)


def _used(tree: Mapping[str, Any], modalities: Mapping[str, ModalitySpec]) -> list[str]:
    present = tree.get("present", {})
    if not isinstance(present, Mapping):
        raise RequestError(f"present: {present!r}; an architecture says true or false of each modality")
    for name in present:
        if name not in modalities:
            raise RequestError(f"present: {name!r} is not a modality; {near_misses(name, modalities)}")
    names = used(tree, modalities)
    if not names:
        raise RequestError("present: every modality is switched off; a network needs one")
    return names


def _joint(tree: Mapping[str, Any], dims: list[int], numbers: list[int]) -> tuple[nn.Module, Any]:
    """The connector and the fusion; what an architecture of one modality leaves out passes it through."""
    if len(dims) == 1 and "connector" not in tree and "fusion" not in tree:
        return nn.Identity(), Alone(dims)
    connector = create_selected("connector", _placed(tree, "connector", numbers), dims)
    fusion = create_selected("fusion", _placed(tree, "fusion", numbers), connector.dims)
    if _consumes_tokens(fusion) and list(connector.dims) != dims:
        raise ValueError(
            f"the fusion consumes tokens, and the connector makes {list(connector.dims)} of the widths"
            f" {dims}; choose a connector that keeps them, or a fusion of vectors"
        )
    return connector, fusion


def _placed(tree: Mapping[str, Any], kind: str, numbers: Sequence[int]) -> Any:
    """A slot in which modalities are named by their place among those of these numbers, the ones in use."""
    selection = _slot(tree, kind)
    if not isinstance(selection, Mapping) or len(selection) != 1:
        return selection
    [(name, settings)] = selection.items()
    placed = dict(settings or {})
    for key, domain in getattr(get(kind, name), "domains", {}).items():
        if ranges_over_modalities(domain) and placed.get(key) is not None:
            own = domain.for_modalities(numbers)
            if not own.contains(placed[key]):
                raise RequestError(
                    f"{kind}.{name}.{key}: {placed[key]!r} does not fit; allowed here: {own}, the numbers of"
                    " the modalities in use"
                )
            placed[key] = domain.renumbered(placed[key], numbers)
    return {name: placed}


def identity(
    architecture: Architecture, modalities: Mapping[str, ModalitySpec], task: Task, seed: int = 0
) -> str:
    """Id that architectures share which make the same network.

    A topology counts with the edges that it makes, not with the settings from which it makes them:
    a Watts–Strogatz graph with beta 0 is the ring lattice. Edges are compared for one seed. Learnable
    wiring, and a network that cannot be built, go by the architecture's own id.

    Args:
        architecture: A point of a search space.
        modalities: The dataset's modalities, by name.
        task: What the network predicts.
        seed: Seed of the wiring.
    """
    rest = outline(architecture)
    if rest == architecture.to_json():
        return architecture.id  # whatever edges it has follow from it
    try:
        network = build(architecture, modalities, task, seed)
    except Exception:  # whatever a component raises: the trial will say so
        return architecture.id
    layers = [layer for layer in network.modules() if isinstance(layer, SparseLinear)]
    if not layers or any(layer.searching for layer in layers):
        return architecture.id
    edges = hashlib.sha256()
    for layer in layers:
        edges.update(np.asarray([layer.out_features, layer.in_features, len(layer.edges)]).tobytes())
        edges.update(layer.edges.source.tobytes())
        edges.update(layer.edges.target.tobytes())
    return Architecture({"rest": rest, "edges": edges.hexdigest()}).id


def outline(architecture: Architecture) -> str:
    """All of an architecture but its topologies, as JSON: architectures of one `identity` share it.

    It is known without building the network.
    """
    return Architecture(_without_topologies(architecture)).to_json()


def _without_topologies(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {name: _without_topologies(inner) for name, inner in tree.items() if name != "topology"}


def _encoder(selection: str | dict[str, Any], spec: ModalitySpec, dim: int) -> nn.Module:
    """An encoder; `sparsify` among its settings makes its linear layers sparse."""
    [settings] = selection.values() if isinstance(selection, dict) and len(selection) == 1 else [None]
    wiring = settings.pop("sparsify", None) if isinstance(settings, dict) else None
    encoder: nn.Module = create_selected("encoder", selection, spec, dim)
    return encoder if wiring is None else sparsify(encoder, **wiring)


def build_encoder(selection: str | dict[str, Any], spec: ModalitySpec, dim: int, seed: int) -> nn.Module:
    """Build one encoder on its own; the same seed gives the same weights.

    Args:
        selection: The encoder, as an architecture has it.
        spec: Its modality.
        dim: Width of its tokens.
        seed: Seed of the initial weights. Torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _encoder(copy.deepcopy(selection), spec, dim)


def _slot(tree: Mapping[str, Any], name: str) -> Any:
    if name not in tree:
        raise RequestError(f"the architecture has no {name!r}; it has {', '.join(tree)}")
    return tree[name]
