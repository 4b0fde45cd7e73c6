"""The wiring of a network in training: learnable wiring is searched and frozen, rules rewire edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas.seeds import derive
from nas.sparse import SparseLinear


@dataclass(frozen=True)
class Plan:
    """How long a training is.

    Args:
        steps_per_epoch: Optimiser steps of one epoch.
        epochs: Number of epochs.
        search_steps: Steps at the start in which learnable wiring is searched.
    """

    steps_per_epoch: int
    epochs: int
    search_steps: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.steps_per_epoch * self.epochs


class Wiring:
    """Lets the sparse layers of a network take part in its training, step by step.

    A layer with learnable wiring is annealed through the search phase and then frozen to an exact
    graph. A layer with a rewiring rule is handed to it after every step, once its wiring is exact.

    Args:
        network: The network in training.
        optimizer: Its optimiser, whose state follows the edges.
        plan: Length of the training.
        seed: Seed of everything random in the rewiring.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, seed: int) -> None:
        self.optimizer = optimizer
        self.plan = plan
        layers = dict(sparse_layers(network))
        self.searched = [layer for layer in layers.values() if layer.searching]
        self.rules: list[tuple[SparseLinear, Any]] = []
        for name, layer in layers.items():
            if layer.rewiring is not None:
                layer.rewiring.start(layer, optimizer, plan, derive(seed, "rewiring", name))
                self.rules.append((layer, layer.rewiring))

    def before_step(self, step: int) -> None:
        """Anneal the learnable wirings, or freeze them when the search phase is over."""
        if step < self.plan.search_steps:
            for layer in self.searched:
                layer.anneal(step / self.plan.search_steps)
        else:
            self._freeze()

    def skips(self, step: int) -> bool:
        """Whether a rule takes this step's gradients for itself and the optimiser leaves them."""
        return any(rule.skips(step) for layer, rule in self.rules if not layer.searching)

    def after_step(self, step: int) -> None:
        """Let the rules drop and grow edges."""
        for layer, rule in self.rules:
            if not layer.searching:
                rule.step(layer, step)

    def finish(self) -> None:
        """Freeze what is still being searched, so that every wiring is an exact graph."""
        self._freeze()

    def _freeze(self) -> None:
        for layer in self.searched:
            layer.freeze(self.optimizer)
        self.searched = []


def sparse_layers(network: nn.Module) -> Iterator[tuple[str, SparseLinear]]:
    """The sparse layers of a network with their names."""
    for name, layer in network.named_modules():
        if isinstance(layer, SparseLinear):
            yield name, layer


def parameter_groups(network: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Optimiser groups: the weights, and what decides learnable wirings, which does not decay."""
    wiring = [parameter for _, layer in sparse_layers(network) for parameter in layer.wiring_parameters()]
    own = {id(parameter) for parameter in wiring}
    weights = [parameter for parameter in network.parameters() if id(parameter) not in own]
    groups = [{"params": weights, "lr": learning_rate, "weight_decay": weight_decay}]
    return [*groups, {"params": wiring, "lr": learning_rate, "weight_decay": 0.0}] if wiring else groups
