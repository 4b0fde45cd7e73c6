"""The wiring of a network in training: learnable wiring is searched and frozen, rules rewire edges."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas.seeds import derive
from nas.sparse import SparseLinear
from nas.topologies import Edges
from nas.topologies._graphs import contains
from nas.training.hooks import Hook

# Adam moves a logit by about its learning rate in a step: some 50 steps from a beta of .1 to one of .9.
WIRING_LEARNING_RATE = 0.1


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


class Wiring(Hook):
    """Lets the sparse layers of a network take part in its training, step by step.

    A layer with learnable wiring is annealed through the search phase and then frozen to an exact
    graph. A layer with a rewiring rule is handed to it after every step, once its wiring is exact.

    Args:
        network: The network in training.
        optimizer: Its optimiser, whose state follows the edges.
        plan: Length of the training.
        seed: Seed of everything random in the rewiring.
        loss: The loss of the network as it is, always on the same samples; what freezing costs is
            measured by it. `None`: it is not measured.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        seed: int,
        loss: Callable[[], float] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.plan = plan
        self.seed = seed
        self.loss = loss
        self.gap: float | None = None
        self.layers = layers = dict(sparse_layers(network))
        self.learning = {name: layer for name, layer in layers.items() if layer.searching}
        self.waiting = {name: layer for name, layer in layers.items() if layer.rewiring is not None}
        self.evolving: dict[str, Evolving] = {}
        self._attach(optimizer)
        self._start_rules(0)

    def before_step(self, step: int) -> None:
        """Anneal the learnable wirings, or freeze them when the search phase is over."""
        if step < self.plan.search_steps:
            for layer in self.learning.values():
                layer.anneal(step / self.plan.search_steps)
        else:
            self._freeze()
            self._start_rules(step)

    def skips(self, step: int) -> bool:
        """Whether a rule takes this step's gradients for itself and the optimiser leaves them."""
        return any(layer.skips(step) for layer in self.evolving.values())

    def after_step(self, step: int) -> None:
        """Let the rules drop and grow edges."""
        for layer in self.evolving.values():
            layer.step(step)

    def metrics(self) -> dict[str, float]:
        """What is known of the wiring: `shares`, `exploration` and, once it is frozen, `soft_to_hard_gap`.

        The gap is the loss right after freezing minus the loss right before.
        """
        gap = {} if self.gap is None else {"soft_to_hard_gap": self.gap}
        return self.shares() | gap | self.exploration()

    def shares(self) -> dict[str, float]:
        """By `beta/<layer>` and `budgets/<layer>/<row>/<column>`: the shares that are, or were, learned."""
        learned = {
            (kind, name): shares.detach().cpu().numpy()
            for name, layer in self.learning.items()
            for kind, shares in (("beta", layer.beta), ("budgets", layer.budgets))
            if shares is not None
        }
        return {
            "/".join([*key, *map(str, index)]): float(share)
            for key, shares in learned.items()
            for index, share in np.ndenumerate(shares)
        }

    def exploration(self) -> dict[str, float]:
        """By `exploration/<layer>`: share of the positions of an evolving layer that were ever edges."""
        return {f"exploration/{name}": layer.explored for name, layer in self.evolving.items()}

    def finish(self) -> None:
        """Make every wiring an exact graph, end the rules, and let the optimiser go."""
        self._freeze()
        self._start_rules(self.plan.steps)
        for layer in self.evolving.values():
            layer.finish()
        self._attach(None)

    @property
    def resumable(self) -> bool:
        """Whether every rule says what it knows."""
        rules = [layer.rewiring for layer in self.layers.values() if layer.rewiring is not None]
        return all(hasattr(rule, "state_dict") for rule in rules)

    def state_dict(self) -> dict[str, Any]:
        """What freezing has cost, and of every evolving layer what its rule knows and what was explored."""
        return {"gap": self.gap, "evolving": {name: one.state_dict() for name, one in self.evolving.items()}}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Take it over; the rules start anew at `step`."""
        self.gap = state["gap"]
        self.waiting |= {name: self.layers[name] for name in self.evolving}
        self.evolving = {}
        self._start_rules(step)
        for name, evolving in self.evolving.items():
            evolving.load_state_dict(state["evolving"][name])

    def _attach(self, optimizer: torch.optim.Optimizer | None) -> None:
        for layer in self.layers.values():
            layer.optimizer = optimizer

    def _start_rules(self, step: int) -> None:
        """Hand the layers whose wiring is exact to their rules; `step` comes next."""
        for name in [name for name, layer in self.waiting.items() if not layer.searching]:
            layer, seed = self.waiting.pop(name), derive(self.seed, "rewiring", name)
            self.evolving[name] = Evolving(layer, self.optimizer, self.plan, seed, step)

    def _freeze(self) -> None:
        searching = [layer for layer in self.learning.values() if layer.searching]
        if not searching:
            return
        soft = self.loss() if self.loss else math.nan
        for layer in searching:
            layer.freeze(self.optimizer)
        self.gap = self.loss() - soft if self.loss else None


class Evolving:
    """A sparse layer in the hands of its rewiring rule, and the positions it has explored.

    Of a rule only `step(layer, step)` is asked for; see `nas.rewirings.Rule` for the rest.

    Args:
        layer: The layer; its wiring is an exact graph.
        optimizer: Optimiser of its weights.
        plan: Length of the training.
        seed: Seed of the rule.
        step: The step that comes next.
    """

    def __init__(
        self, layer: SparseLinear, optimizer: torch.optim.Optimizer, plan: Plan, seed: int, step: int
    ) -> None:
        self.layer = layer
        self.rule: Any = layer.rewiring
        if hasattr(self.rule, "start"):
            self.rule.start(layer, optimizer, plan, seed, step)
        self._edges = layer.edges
        self._seen = _positions(layer.edges)

    def skips(self, step: int) -> bool:
        """Whether the rule takes this step's gradients for itself."""
        return hasattr(self.rule, "skips") and bool(self.rule.skips(step))

    def step(self, step: int) -> None:
        """Let the rule drop and grow edges."""
        self.rule.step(self.layer, step)
        self._note()

    def finish(self) -> None:
        """Let the rule do what is left for it after the training."""
        if hasattr(self.rule, "finish"):
            self.rule.finish(self.layer)
        self._note()

    def state_dict(self) -> dict[str, Any]:
        """What the rule knows, and the positions that were ever edges."""
        return {"rule": self.rule.state_dict(), "seen": torch.from_numpy(self._seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.rule.load_state_dict(state["rule"])
        self._seen = state["seen"].numpy()

    def _note(self) -> None:
        if self.layer.edges is not self._edges:
            self._edges, now = self.layer.edges, _positions(self.layer.edges)
            # A stable sort merges the two ascending runs in linear time.
            self._seen = np.sort(np.concatenate([self._seen, now[~contains(self._seen, now)]]), kind="stable")

    @property
    def explored(self) -> float:
        """Share of all positions that were ever edges (in-time over-parameterisation, arXiv 2102.02887)."""
        return len(self._seen) / (self.layer.out_features * self.layer.in_features)


def _positions(edges: Edges) -> NDArray[np.int64]:
    return edges.target * edges.in_features + edges.source


def sparse_layers(network: nn.Module) -> Iterator[tuple[str, SparseLinear]]:
    """The sparse layers of a network with their names."""
    for name, layer in network.named_modules():
        if isinstance(layer, SparseLinear):
            yield name, layer


def parameter_groups(network: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Optimiser groups: the weights, and what decides learnable wirings.

    The latter does not decay, and has a learning rate of its own: the way of a logit from one end of
    its range to the other is as long whatever suits the weights.
    """
    wiring = [parameter for _, layer in sparse_layers(network) for parameter in layer.wiring_parameters()]
    own = {id(parameter) for parameter in wiring}
    weights = [parameter for parameter in network.parameters() if id(parameter) not in own]
    groups = [{"params": weights, "lr": learning_rate, "weight_decay": weight_decay}]
    if wiring:
        groups.append({"params": wiring, "lr": WIRING_LEARNING_RATE, "weight_decay": 0.0})
    return groups
