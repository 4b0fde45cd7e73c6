"""Linear heads on every modality's own features, which learn beside a network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.datasets import Batch, Split
from nas.experiment import Training
from nas.network import Network, Rescale
from nas.training.criterion import Criterion


class Heads:
    """A linear head per modality of a network, with an optimiser of their own; no part of the network.

    Args:
        network: The network whose modalities they are of.
        training: The training split, of which one sample tells the width of the features.
        criterion: The loss of the heads, that of the network.
        settings: Weight decay and learning rate.
        seed: Seed of their weights.
    """

    def __init__(
        self, network: Network, training: Split, criterion: Criterion, settings: Training, seed: int
    ) -> None:
        device = next(network.parameters()).device
        sample = training.batch(torch.zeros(1, dtype=torch.long)).to(device)
        network.eval()
        with torch.no_grad():
            features = network.features(sample.inputs, sample.masks, sample.present)
        network.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = {name: _head(values.shape[1], network) for name, values in features.items()}
        self.modules = nn.ModuleDict(made).to(device)
        self.columns = dict(zip(network.encoders, network.columns, strict=True))
        self.criterion = criterion
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._seen: Mapping[str, Tensor] = {}

    def watch(self, network: Network) -> None:
        """Take note of the features of every forward pass of a network, until `leave`."""
        network.watchers.append(self._note)

    def leave(self, network: Network) -> None:
        """Take no note of them any more."""
        network.watchers.remove(self._note)
        self._seen = {}

    def losses(self, batch: Batch, features: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The loss of every head over the samples that have its modality; 0 where none has.

        Args:
            batch: The batch.
            features: By modality `(B, d)`; those of the last forward pass for None.
        """
        features = self._seen if features is None else features
        return {name: self._loss(name, values.float(), batch) for name, values in features.items()}

    def update(self, learning_rate: float) -> None:
        """Learn from the gradients that are there."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Their weights, and what their optimiser knows."""
        return {"modules": self.modules.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _note(self, features: Mapping[str, Tensor]) -> None:
        self._seen = features

    def _loss(self, name: str, features: Tensor, batch: Batch) -> Tensor:
        outputs, labels = self.modules[name](features), batch.labels
        if batch.present is not None:
            there = batch.present[:, self.columns[name]]
            if not there.any():
                return outputs.sum() * 0
            outputs, labels = outputs[there], labels[there]
        return self.criterion(outputs, labels)


def _head(width: int, network: Network) -> nn.Module:
    task = network.task
    linear = nn.Linear(width, task.out_dim)
    return nn.Sequential(linear, Rescale(task.center, task.scale)) if task.center else linear
