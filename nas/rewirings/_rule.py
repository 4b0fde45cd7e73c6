"""What the rewiring rules share: the course of the training, random draws, and where edges may grow."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from nas.rewirings._places import Places

if TYPE_CHECKING:
    from nas.sparse import SparseLinear
    from nas.training.wiring import Plan


class Rule:
    """A rule that rewires one sparse layer during its training.

    A rule that was not started takes every step for an epoch of an endless training.

    Attributes:
        domains: Domains of the hyper-parameters.
        conserves: Whether the number of edges stays what it is.
        static: Whether the edges stay what they are.
        plan: Length of the training.
        generator: Source of every random draw.
    """

    domains: ClassVar[Mapping[str, Any]] = {}
    conserves: ClassVar[bool] = True
    static: ClassVar[bool] = False
    plan: "Plan | None" = None

    @cached_property
    def generator(self) -> torch.Generator:
        """Source of every random draw; `start` seeds it."""
        return torch.Generator().manual_seed(0)

    def start(
        self, layer: "SparseLinear", optimizer: torch.optim.Optimizer, plan: "Plan", seed: int, step: int = 0
    ) -> None:
        """Prepare for the training of a layer whose wiring is an exact graph.

        Args:
            layer: The layer; its edges will be edited.
            optimizer: Optimiser of its weights, whose state follows the edges.
            plan: Length of the training.
            seed: Seed of the random draws.
            step: The step that comes next, counted from 0.
        """
        layer.optimizer = optimizer
        self.plan = plan
        self.generator.manual_seed(seed)

    def final_edges(self, layer: "SparseLinear") -> int:
        """How many edges the layer will have after its training; exact, and known before it."""
        return len(layer.weight)

    def skips(self, step: int) -> bool:
        """Whether this step's gradients are for the rule alone, and the optimiser leaves them."""
        return False

    def step(self, layer: "SparseLinear", step: int) -> None:
        """Rewire the layer, if it is time; called after every optimiser step, counted from 0."""
        raise NotImplementedError

    def finish(self, layer: "SparseLinear") -> None:
        """Do what the training was too short for; called once after it."""

    def state_dict(self) -> dict[str, Any]:
        """What the rule knows beyond the layer and the optimiser."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`, after `start`."""
        self.generator.set_state(state["generator"])

    def progress(self, step: int) -> float:
        """Share of the training that lies before a step."""
        return 0.0 if self.plan is None else step / self.plan.steps

    def between_epochs(self, step: int) -> bool:
        """Whether a step ends an epoch that is not the last."""
        if self.plan is None:
            return True
        done = step + 1
        return done % self.plan.steps_per_epoch == 0 and done < self.plan.steps

    def grow_uniformly(self, layer: "SparseLinear", keep: Tensor) -> None:
        """Replace the edges that are not kept by uniform empty ones of weight 0.

        Args:
            layer: The layer.
            keep: Which edges stay, bool of shape `(E,)`.
        """
        layer.rewire(keep, *self.draw_empty(layer, keep))

    def draw_empty(self, layer: "SparseLinear", keep: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and sources of uniform empty positions, as many as edges are not kept."""
        places = Places.of(layer)
        taken = places.number(layer.target[keep], layer.source[keep])
        return places.ends(places.draw_empty(taken, int((~keep).sum()), self.generator))


def all_but_smallest(values: Tensor, count: int) -> Tensor:
    """Mask of the values without the `count` smallest; among equals the first ones go."""
    keep = torch.ones(len(values), dtype=torch.bool, device=values.device)
    keep[values.argsort(stable=True)[:count]] = False
    return keep
