"""Gradient blending: losses weighed by gain over overfitting (Wang et al., arXiv 1905.12681)."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch, Split
from nas.experiment import Training
from nas.network import Network
from nas.seeds import derive
from nas.training.criterion import Criterion
from nas.training.heads import Heads
from nas.training.hooks import Hook

JOINT = ""  # the loss of the network's own outputs, among those of the modalities
HELD_OUT = 0.2
SPANS = 4
LEAST_GAIN, LEAST_OVERFIT = 1e-3, 5e-2

Losses = Callable[[Batch], Mapping[str, Tensor]]
Course = tuple[float, float, float, float]


class GradientBlending(Hook):
    """Learns from Σ_k w_k L_k over the network's own outputs and a linear head per modality.

    The weights are proportional to G_k / O_k² (the overfitting-to-generalisation ratio) and sum to 1. They
    are estimated from the state in which the network is: one copy of it learns from the losses of the
    heads alone, whose encoders have nothing in common, another from its own outputs alone, both for a
    span of a quarter of the epochs on 80 % of the training split. With L^T the loss there and L^V that on
    the other 20 %, G is the fall of L^V and O the growth of L^V − L^T over the span. A G below 0.001 of
    the first L^V, and an |O| below 0.05 of it, count as that. `offline` estimates once, `online` at the
    start of every span: then a training costs as much as three. The network itself learns from all of
    the training split, and the validation split takes no part.

    Args:
        network: The network in training.
        heads: A head per modality.
        optimizer: Optimiser of the network.
        training: The training split.
        criterion: The loss.
        settings: How the network is trained.
        seed: Seed of everything random.
    """

    def __init__(
        self,
        network: Network,
        heads: Heads,
        optimizer: torch.optim.Optimizer,
        training: Split,
        criterion: Criterion,
        settings: Training,
        seed: int,
    ) -> None:
        self.network = network
        self.heads = heads
        self.optimizer = optimizer
        self.training = training
        self.criterion = criterion
        self.settings = settings
        self.seed = seed
        self.span = max(1, round(settings.epochs / SPANS))
        self.steps = self.span * -(-len(training) // settings.batch_size)
        self.weights: dict[str, float] = {}
        heads.watch(network)

    def before_step(self, step: int) -> None:
        """Estimate the weights, at the start or at the start of every span."""
        if step == 0 or (self.settings.gradient_blending == "online" and step % self.steps == 0):
            self.weights = self._estimate(derive(self.seed, "gradient_blending", step))

    def total_loss(self, step: int, loss: Tensor, batch: Batch) -> Tensor:
        """The weighted sum."""
        losses = {JOINT: loss} | self.heads.losses(batch)
        return torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()

    def after_step(self, step: int) -> None:
        """Let the heads learn at the rate of the network."""
        self.heads.update(self.optimizer.param_groups[0]["lr"])

    def metrics(self) -> dict[str, float]:
        """By `blending/<modality>` and `blending/joint` the weights."""
        return {f"blending/{name or 'joint'}": weight for name, weight in self.weights.items()}

    def finish(self) -> None:
        """Leave the network alone."""
        self.heads.leave(self.network)

    def state_dict(self) -> dict[str, Any]:
        """The heads and the weights of their losses."""
        return {"heads": self.heads.state_dict(), "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Take them over."""
        self.heads.load_state_dict(state["heads"])
        self.weights = dict(state["weights"])

    def _estimate(self, seed: int) -> dict[str, float]:
        device = next(self.network.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            order = torch.randperm(len(self.training))
            held = max(1, round(HELD_OUT * len(order)))
            parts = (order[held:] if len(order) > held else order, order[:held])
            alone, heads = self._copies()
            found = self._course(alone, heads, lambda batch: _unimodal(alone, heads, batch), parts)
            joint, _ = self._copies()
            found |= self._course(joint, None, lambda batch: {JOINT: self._joint(joint, batch)}, parts)
        return blend(found)

    def _copies(self) -> tuple[Network, Heads]:
        """The network, unwatched, and the heads as they are."""
        self.heads.leave(self.network)
        watchers, self.network.watchers = self.network.watchers, []
        copies = copy.deepcopy(self.network), copy.deepcopy(self.heads)
        self.network.watchers = watchers
        self.heads.watch(self.network)
        return copies

    def _joint(self, network: Network, batch: Batch) -> Tensor:
        return self.criterion(network(batch.inputs, batch.masks, batch.present), batch.labels)

    def _course(
        self, network: Network, heads: Heads | None, losses: Losses, parts: tuple[Tensor, Tensor]
    ) -> dict[str, Course]:
        """By loss: that on either part of the split before, then after a span of learning from their sum."""
        before = [self._mean(network, losses, part) for part in parts]
        optimizer = torch.optim.AdamW(
            network.parameters(), self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        network.train()
        for _ in range(self.span):
            for places in torch.randperm(len(parts[0])).split(self.settings.batch_size):
                optimizer.zero_grad(set_to_none=True)
                batch = self._batch(parts[0][places])
                torch.stack(list(losses(batch).values())).sum().backward()
                optimizer.step()
                if heads is not None:
                    heads.update(self.settings.learning_rate)
        after = [self._mean(network, losses, part) for part in parts]
        return {
            name: (before[0][name], before[1][name], after[0][name], after[1][name]) for name in before[0]
        }

    def _mean(self, network: Network, losses: Losses, indices: Tensor) -> dict[str, float]:
        network.eval()
        totals: dict[str, float] = {}
        with torch.no_grad():
            for part in indices.split(self.settings.batch_size):
                for name, value in losses(self._batch(part)).items():
                    totals[name] = totals.get(name, 0.0) + value.item() * len(part) / len(indices)
        return totals

    def _batch(self, indices: Tensor) -> Batch:
        return self.training.batch(indices).to(next(self.network.parameters()).device)


def _unimodal(network: Network, heads: Heads, batch: Batch) -> dict[str, Tensor]:
    return heads.losses(batch, network.features(batch.inputs, batch.masks, batch.present))


def blend(losses: Mapping[str, Course]) -> dict[str, float]:
    """Weights from the losses on what was learned and on what was held out, before and after a span.

    Args:
        losses: By name: L^T and L^V before, L^T and L^V after; see `GradientBlending`.
    """
    ratios = {}
    for name, (train_before, held_before, train_after, held_after) in losses.items():
        gain = max(held_before - held_after, LEAST_GAIN * held_before)
        growth = (held_after - train_after) - (held_before - train_before)
        ratios[name] = gain / max(abs(growth), LEAST_OVERFIT * held_before) ** 2
    total = sum(ratios.values())
    return {name: ratio / total for name, ratio in ratios.items()}
