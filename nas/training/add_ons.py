"""Add-ons of a training, each a hook that a setting switches on: how modalities learn side by side."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch, Split
from nas.experiment import Training
from nas.network import Network
from nas.seeds import derive
from nas.training.blending import GradientBlending
from nas.training.criterion import Criterion
from nas.training.heads import Heads
from nas.training.hooks import Hook
from nas.training.missing import ModalityDropout, keep_only


def add_ons(
    network: Network,
    training: Split,
    settings: Training,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    seed: int,
) -> list[Hook]:
    """The hooks that the settings ask for.

    Args:
        network: The network that is to be trained.
        training: The training split.
        settings: How it is trained.
        criterion: The loss of its outputs.
        optimizer: What changes its weights; the learning rate is read from it.
        seed: Seed of everything random.
    """
    hooks: list[Hook] = []
    if settings.modality_dropout:
        count = len(network.modalities)
        hooks.append(ModalityDropout(network.columns, count, settings.modality_dropout, seed))
    if settings.auxiliary_loss:
        heads = Heads(network, training, criterion, settings, derive(seed, "auxiliary_loss"))
        hooks.append(AuxiliaryLoss(network, heads, optimizer, settings.auxiliary_loss))
    if settings.gradient_blending != "none":
        heads = Heads(network, training, criterion, settings, derive(seed, "gradient_blending"))
        hooks.append(GradientBlending(network, heads, optimizer, training, criterion, settings, seed))
    if settings.modulation != "none" and len(network.encoders) > 1:
        hooks.append(GradientModulation(network, settings.modulation_alpha, seed))
    return hooks


class AuxiliaryLoss(Hook):
    """Adds to the loss the mean of those of linear heads on every modality's own features.

    Args:
        network: The network in training.
        heads: The heads; they are no part of it and are dropped with this hook.
        optimizer: Optimiser of the network.
        weight: Weight of the mean.
    """

    def __init__(
        self, network: Network, heads: Heads, optimizer: torch.optim.Optimizer, weight: float
    ) -> None:
        self.heads = heads
        self.optimizer = optimizer
        self.weight = weight
        heads.watch(network)
        self.network = network

    def total_loss(self, step: int, loss: Tensor, batch: Batch) -> Tensor:
        """The loss and that of the heads."""
        return loss + self.weight * torch.stack(list(self.heads.losses(batch).values())).mean()

    def after_step(self, step: int) -> None:
        """Let the heads learn at the rate of the network."""
        self.heads.update(self.optimizer.param_groups[0]["lr"])

    def finish(self) -> None:
        """Leave the network alone."""
        self.heads.leave(self.network)

    def state_dict(self) -> dict[str, Any]:
        """The heads."""
        return self.heads.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Take them over."""
        self.heads.load_state_dict(state)


class GradientModulation(Hook):
    """OGM-GE: on-the-fly gradient modulation with generalisation enhancement (Peng et al., arXiv 2203.15332).

    With s_m the mean probability that the network gives the right class (or the right values of the
    labels) from modality m alone, the others absent, ρ_m is s_m over the mean of the others' scores
    (equations 8 and 9 for two modalities). The gradient g of the encoder of m becomes k_m g + ε, where
    k_m = 1 − tanh(α ρ_m) if ρ_m > 1 and else 1 (equation 10), and ε is normal with the deviation of the
    values of g in each tensor. Costs a forward pass without gradient per modality and step.

    Args:
        network: The network in training, of several modalities.
        alpha: The degree of modulation α.
        seed: Seed of the noise.
    """

    def __init__(self, network: Network, alpha: float, seed: int) -> None:
        self.network = network
        self.alpha = alpha
        self.generator = torch.Generator().manual_seed(derive(seed, "modulation"))

    def before_update(self, step: int, batch: Batch) -> None:
        """Change the gradients of the encoders."""
        factors = modulation(self.scores(batch), self.alpha)
        for name, encoder in self.network.encoders.items():
            for parameter in encoder.parameters():
                if parameter.grad is not None:
                    noise = torch.randn(parameter.shape, generator=self.generator).to(parameter)
                    noise *= parameter.grad.std(correction=0)
                    parameter.grad.mul_(factors[name]).add_(noise)

    def state_dict(self) -> dict[str, Any]:
        """Where the noise is."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Draw on from there."""
        self.generator.set_state(state["generator"])

    def scores(self, batch: Batch) -> dict[str, float]:
        """By modality, the mean probability of what is right, from it alone; of the samples that have it."""
        self.network.eval()
        with torch.no_grad():
            found = {name: self._score(name, batch) for name in self.network.encoders}
        self.network.train()
        return found

    def _score(self, name: str, batch: Batch) -> float:
        alone = keep_only(batch, self.network.modalities, [name])
        assert alone.present is not None
        outputs = self.network(alone.inputs, alone.masks, alone.present)
        if self.network.task.kind == "classification":
            right = outputs.softmax(1).gather(1, batch.labels[:, None])
        else:
            right = torch.where(batch.labels > 0, outputs.sigmoid(), 1 - outputs.sigmoid())
        there = alone.present[:, self.network.modalities.index(name)]
        return right.mean(1)[there].mean().item() if there.any() else 0.0


def modulation(scores: Mapping[str, float], alpha: float) -> dict[str, float]:
    """The factor k of every modality's gradients; see `GradientModulation`."""
    factors = {}
    for name, score in scores.items():
        others = [other for key, other in scores.items() if key != name]
        ratio = score / max(sum(others) / len(others), 1e-12)
        factors[name] = 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0
    return factors
