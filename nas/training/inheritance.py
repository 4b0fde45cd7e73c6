"""Weight inheritance: a training that starts from what a parent has learned."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.modality import ModalitySpec, Task
from nas.network import Network, build
from nas.space import Architecture
from nas.sparse import SparseLinear


@dataclass(frozen=True)
class Ancestor:
    """A trained network to start from.

    Args:
        architecture: Its architecture.
        state: Its state_dict.
    """

    architecture: Architecture
    state: Mapping[str, Tensor]

    @classmethod
    def load(cls, folder: Path) -> "Ancestor":
        """Read the network that a trial has left in its folder.

        Raises:
            FileNotFoundError: The trial has not kept its weights; only members of the front do.
        """
        from safetensors.torch import load_file

        data = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
        return cls(Architecture(data), load_file(folder / "weights.safetensors"))


@torch.no_grad()
def inherit(
    network: Network, ancestor: Ancestor, modalities: Mapping[str, ModalitySpec], task: Task
) -> float:
    """Start a network from an ancestor's weights wherever the two are alike.

    A parameter or buffer is taken over where the same component has one of the same name and shape. A
    sparse layer between as many units in the same segments takes over weights edge by edge: those of
    edges that only the ancestor has are lost, those that only the network has stay as they were drawn.

    Args:
        network: The untrained network; changed in place.
        ancestor: Where to start from.
        modalities: The modalities of both, by name.
        task: What both predict.

    Returns:
        The share of the network's trainable numbers that it has inherited.
    """
    parent = build(ancestor.architecture, modalities, task)
    parent.load_state_dict(ancestor.state)
    taken = sum(_take_over(own, other) for own, other in _alike(network, parent))
    return taken / sum(parameter.numel() for parameter in network.parameters())


def _alike(network: Network, parent: Network) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The modules of the same name and type within components of the same name and type."""
    slots = [*(f"encoders.{name}" for name in network.encoders), "connector", "fusion", "head"]
    for slot in slots:
        own, other = (dict(whole.named_modules()).get(slot) for whole in (network, parent))
        if own is None or other is None or type(own) is not type(other):
            continue
        others = dict(other.named_modules())
        for name, module in own.named_modules():
            if name in others and type(others[name]) is type(module):
                yield module, others[name]


def _take_over(own: nn.Module, other: nn.Module) -> int:
    """Copy what fits from a module to its like, its submodules aside; how many trainable numbers."""
    if isinstance(own, SparseLinear) and isinstance(other, SparseLinear):
        return _take_over_edges(own, other)
    taken = 0
    theirs = dict(other.named_parameters(recurse=False)) | dict(other.named_buffers(recurse=False))
    for name, buffer in own.named_buffers(recurse=False):
        if name in theirs and theirs[name].shape == buffer.shape:
            buffer.copy_(theirs[name])
    for name, parameter in own.named_parameters(recurse=False):
        if name in theirs and theirs[name].shape == parameter.shape:
            parameter.copy_(theirs[name])
            taken += parameter.numel()
    return taken


def _take_over_edges(own: SparseLinear, other: SparseLinear) -> int:
    layers = (own, other)
    sizes = [(layer.in_features, layer.out_features, layer.segments) for layer in layers]
    if sizes[0] != sizes[1]:
        return 0
    mine, theirs = (layer.target.cpu() * layer.in_features + layer.source.cpu() for layer in layers)
    found = torch.searchsorted(theirs, mine).clamp(max=len(theirs) - 1)
    shared = theirs[found] == mine
    here, there = shared.nonzero()[:, 0].to(own.weight.device), found[shared].to(other.weight.device)
    own.weight[here] = other.weight[there].to(own.weight)
    taken = len(here)
    for name in ("bias", "share_logits"):
        one, two = getattr(own, name), getattr(other, name)
        if isinstance(one, nn.Parameter) and two is not None and one.shape == two.shape:
            one.copy_(two)
            taken += one.numel()
    return taken
