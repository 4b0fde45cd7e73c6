"""`gradual_magnitude`: pruning to a lower density, the baseline of the rules that grow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from nas.checks import check_positive, check_share
from nas.registry import register
from nas.rewirings._rule import Rule, all_but_smallest
from nas.space import Float

if TYPE_CHECKING:
    from nas.sparse import SparseLinear
    from nas.training.wiring import Plan


@register("rewiring", "gradual_magnitude")
@dataclass(eq=False)
class GradualMagnitude(Rule):
    """Gradual magnitude pruning (Zhu & Gupta, arXiv 1710.01878); the number of edges falls.

    Every Δ steps from t₀ to t₁, and at t₁, the edges of the smallest |w| go until the density is
    `s_f + (s_i − s_f) (1 − (t − t₀)/(t₁ − t₀))³`, with s_i that of the start; t counts the steps
    made. Nothing grows. At least one edge stays. A layer that is handed over later than t₁, because
    its wiring was searched until then, is pruned at once; so how many edges are left in the end
    follows from the settings alone.

    Args:
        density: Share s_f of all positions that are edges at the end; a layer that starts with
            fewer stays as it is.
        interval: Δ, steps from one pruning to the next.
        begin: t₀ as a share of the training.
        end: t₁ as a share of the training.

    Raises:
        ValueError: A share is not within [0, 1], `begin` is not below `end`, or `interval` is not a
            whole number of at least 1.
    """

    domains: ClassVar = {"density": Float(0.01, 0.3, log=True)}
    conserves: ClassVar[bool] = False

    density: float = 0.05
    interval: int = 10
    begin: float = 0.0
    end: float = 0.75

    def __post_init__(self) -> None:
        for name in ("density", "begin", "end"):
            check_share(name, getattr(self, name))
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} must be below end {self.end}")
        check_positive("interval", self.interval)
        self._initial = 0.0

    def start(
        self, layer: "SparseLinear", optimizer: torch.optim.Optimizer, plan: "Plan", seed: int, step: int = 0
    ) -> None:
        """Prepare for the training; the density falls from what it is now."""
        super().start(layer, optimizer, plan, seed, step)
        self._initial = layer.edges.density

    @torch.no_grad()
    def step(self, layer: "SparseLinear", step: int) -> None:
        """Prune, if it is time; a rule that was not started knows no time."""
        if self._prunes(step + 1):
            self._prune(layer, self.density_at(step + 1))

    @torch.no_grad()
    def finish(self, layer: "SparseLinear") -> None:
        """Prune to the final density, should no step have been left for it."""
        self._prune(layer, self.density)

    def final_edges(self, layer: "SparseLinear") -> int:
        """The edges at the final density, or those that are there, if they are fewer."""
        return min(len(layer.weight), _edges_at(self.density, layer))

    def density_at(self, done: int) -> float:
        """The density to which the schedule has come after so many steps."""
        first, last = self._bounds
        ahead = 1 - min(max((done - first) / max(last - first, 1), 0), 1)
        return self.density + (self._initial - self.density) * ahead**3

    def state_dict(self) -> dict[str, Any]:
        """The density of the start, beside what every rule keeps."""
        return super().state_dict() | {"initial": self._initial}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`, after `start`."""
        super().load_state_dict(state)
        self._initial = state["initial"]

    def _prunes(self, done: int) -> bool:
        if self.plan is None:
            return False
        first, last = self._bounds
        return done >= last or (done >= first and (done - first) % self.interval == 0)

    def _prune(self, layer: "SparseLinear", density: float) -> None:
        surplus = len(layer.weight) - _edges_at(density, layer)
        if surplus > 0:
            layer.rewire(all_but_smallest(layer.weight.abs(), surplus))

    @property
    def _bounds(self) -> tuple[int, int]:
        steps = self.plan.steps if self.plan else 0
        return round(self.begin * steps), max(1, round(self.end * steps))


def _edges_at(density: float, layer: "SparseLinear") -> int:
    return max(1, round(density * layer.out_features * layer.in_features))
