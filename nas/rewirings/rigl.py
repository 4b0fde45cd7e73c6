"""`rigl`: edges grow where the gradient of the dense layer is largest."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from nas.checks import check_positive, check_share
from nas.registry import register
from nas.rewirings._places import Places
from nas.rewirings._rule import Rule, all_but_smallest
from nas.space import Float

if TYPE_CHECKING:
    from nas.sparse import SparseLinear
    from nas.training.wiring import Plan

# Positions of the dense gradient that are held at a time: 16 MiB in float32.
BLOCK = 2**22
# ΔT of the paper, and how many updates a shorter training has instead.
INTERVAL, UPDATES = 100, 10


@register("rewiring", "rigl")
@dataclass(eq=False)
class RigL(Rule):
    """Rigging the lottery (Evci et al., arXiv 1911.11134).

    Every ΔT steps, until T_end, a share `α/2 · (1 + cos(π t / T_end))` of the edges, those of the
    smallest |w|, gives way to the empty positions of the largest |∂L/∂W|, with weight 0. On such a
    step the optimiser does not move. The gradient of the dense layer is `gᵀ x`, summed over the
    layer's calls, from its inputs x and the gradients g of its outputs, which are held on that step
    alone; the product is made in blocks of rows and never as a whole.

    Args:
        interval: ΔT, steps from one update to the next. None is 100, as in the paper, or in a training
            too short for ten such updates a tenth of its steps up to T_end.
        alpha: Share of the edges that the first updates replace.
        until: T_end as a share of the training.

    Raises:
        ValueError: `interval` is not a whole number of at least 1, or a share is not within [0, 1].
    """

    domains: ClassVar = {"alpha": Float(0.05, 0.5)}

    interval: int | None = None
    alpha: float = 0.3
    until: float = 0.75

    def __post_init__(self) -> None:
        if self.interval is not None:
            check_positive("interval", self.interval)
        check_share("alpha", self.alpha)
        check_share("until", self.until)
        self._heard: list[tuple[Tensor, Tensor]] = []
        self._hook: RemovableHandle | None = None

    def start(
        self, layer: "SparseLinear", optimizer: torch.optim.Optimizer, plan: "Plan", seed: int, step: int = 0
    ) -> None:
        """Prepare for the training; listen at once if the next step is an update."""
        super().start(layer, optimizer, plan, seed, step)
        self._listen_before(layer, step)

    def skips(self, step: int) -> bool:
        """Whether the step is an update, and the layer took part in it."""
        return self._updates(step) and bool(self._heard)

    @torch.no_grad()
    def step(self, layer: "SparseLinear", step: int) -> None:
        """Replace edges, if the gradient was taken; listen if the next step is an update."""
        if self._heard:
            inputs, gradients = (torch.cat(parts) for parts in zip(*self._heard, strict=True))
            keep = all_but_smallest(layer.weight.abs(), int(self.fraction(step) * len(layer.weight)))
            layer.rewire(keep, *_steepest(layer, keep, inputs, gradients))
        self._listen_before(layer, step + 1)

    @property
    def steps_between(self) -> int:
        """ΔT in this training."""
        if self.interval is not None or self.plan is None:
            return self.interval or INTERVAL
        return min(INTERVAL, max(1, round(self.until * self.plan.steps / UPDATES)))

    def fraction(self, step: int) -> float:
        """Share of the edges that an update at this step replaces."""
        passed = min(1.0, self.progress(step) / self.until) if self.until else 1.0
        return self.alpha / 2 * (1 + math.cos(math.pi * passed))

    def _updates(self, step: int) -> bool:
        return step > 0 and step % self.steps_between == 0 and self.progress(step) < self.until

    def _listen_before(self, layer: "SparseLinear", step: int) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._heard.clear()
        self._hook = layer.register_forward_hook(self._hear) if self._updates(step) else None

    def _hear(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what the layer got, once the gradient of what it gave is known."""
        if output.requires_grad:
            rows = inputs[0].detach().flatten(0, -2)
            output.register_hook(lambda gradient: self._heard.append((rows, gradient.flatten(0, -2))))


def _steepest(
    layer: "SparseLinear", keep: Tensor, inputs: Tensor, gradients: Tensor
) -> tuple[Tensor, Tensor]:
    """Targets and sources of the largest |gᵀ x| outside the kept edges, as many as are not kept."""
    count, loops = int((~keep).sum()), Places.of(layer).loops
    target, source = layer.target[keep], layer.source[keep]
    best, where = inputs.new_empty(0), target.new_empty(0)
    for first in range(0, layer.out_features, rows := max(1, BLOCK // layer.in_features)):
        steepness = (gradients[:, first : first + rows].t().to(inputs.dtype) @ inputs).abs()
        here = (target >= first) & (target < first + rows)
        steepness[target[here] - first, source[here]] = -1
        if not loops:
            steepness.diagonal(first).fill_(-1)
        least = best[-1] if len(best) == count > 0 else -1
        found = (steepness.flatten() > least).nonzero()[:, 0]
        best = torch.cat([best, steepness.flatten()[found]])
        where = torch.cat([where, found + first * layer.in_features])
        best, chosen = best.topk(min(count, len(best)))
        where = where[chosen]
    return where // layer.in_features, where % layer.in_features
