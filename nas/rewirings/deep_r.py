"""`deep_r`: edges that reach zero go dormant, and random dormant ones wake up."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nas.checks import check_not_negative
from nas.registry import register
from nas.rewirings._rule import Rule
from nas.space import Float

if TYPE_CHECKING:
    from nas.sparse import SparseLinear
    from nas.training.wiring import Plan

# Where θ of an edge that wakes up starts.
AWAKENING = 1e-12


@register("rewiring", "deep_r")
@dataclass(eq=False)
class DeepR(Rule):
    """Deep rewiring (Bellec et al., ICLR 2018, arXiv 1711.05136), with a fixed number of active edges.

    A weight is `w = s θ` with a fixed sign s. In every step `θ ← θ − η ∂L/∂θ − η α + √(2ηT) ν` with
    ν ~ N(0, 1); an edge with `θ ≤ 0` goes dormant, and a uniform dormant position becomes an edge
    with `θ = 1e-12` and a random sign. Here `−η ∂L/∂θ` is what the optimiser did to the weight,
    whichever it is, and η its learning rate: with Adam the drift and the noise are those of plain
    gradient descent at that rate. The signs are those of the weights between two steps, so a
    checkpoint has no need of them.

    Args:
        alpha: Weight α of the L1 penalty.
        temperature: T of the random walk; None means ηα²/18, whose noise √(2ηT) is ηα/3.

    Raises:
        ValueError: `alpha` or `temperature` is negative.
    """

    domains: ClassVar = {"alpha": Float(1e-6, 1e-2, log=True)}

    alpha: float = 1e-5
    temperature: float | None = None

    def __post_init__(self) -> None:
        check_not_negative("alpha", self.alpha)
        if self.temperature is not None:
            check_not_negative("temperature", self.temperature)
        self._sign: Tensor | None = None

    def start(
        self, layer: "SparseLinear", optimizer: torch.optim.Optimizer, plan: "Plan", seed: int, step: int = 0
    ) -> None:
        """Prepare for the training; from here on the signs are fixed."""
        super().start(layer, optimizer, plan, seed, step)
        self._sign = layer.weight.detach().sign()

    @torch.no_grad()
    def step(self, layer: "SparseLinear", step: int) -> None:
        """Drift, random walk, and new edges for those that reached zero."""
        sign = layer.weight.sign() if self._sign is None else self._sign.to(layer.weight)
        theta = sign * layer.weight + self._push(layer)
        layer.weight.copy_(sign * theta)
        keep = theta > 0
        if not keep.all():
            target, source = self.draw_empty(layer, keep)
            up = torch.randint(2, target.shape, generator=self.generator).to(layer.weight)
            layer.rewire(keep, target, source, AWAKENING * (2 * up - 1))
        self._sign = layer.weight.sign()

    def _push(self, layer: "SparseLinear") -> Tensor:
        """−ηα + √(2ηT) ν, shape `(E,)`."""
        rate = _learning_rate(layer)
        temperature = rate * self.alpha**2 / 18 if self.temperature is None else self.temperature
        noise = torch.randn(layer.weight.shape, generator=self.generator).to(layer.weight)
        return math.sqrt(2 * rate * temperature) * noise - rate * self.alpha


def _learning_rate(layer: "SparseLinear") -> float:
    """The optimiser's current learning rate of the layer; 0 where there is no optimiser."""
    groups = layer.optimizer.param_groups if layer.optimizer else []
    rates = [group["lr"] for group in groups if any(weight is layer.weight for weight in group["params"])]
    return float(rates[0]) if rates else 0.0
