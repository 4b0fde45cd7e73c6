"""Objectives: what a search maximises or minimises, and what every trial logs.

An objective is a component: `(**hp)` with `direction` (`maximize` or `minimize`), `cheap` (known
before training) and `logged` (measured in every trial, asked for or not), and where it does not fit
everything `tasks` (the kinds of `nas.modality.Task` that it fits), `least_modalities`, and
`is_defined(labels, task)`; called with a `Context`, it gives a number.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.datasets import Batch, Split
from nas.experiment import Direction
from nas.modality import ModalitySpec, Task
from nas.network import Network

__all__ = ["Context", "default_objectives"]

FIRST = {"classification": "accuracy", "multilabel": "average_precision", "regression": "r2"}


def default_objectives(task: Task) -> dict[str, Direction]:
    """What a search is after whose experiment does not say: a metric that fits the task, and few weights."""
    return {FIRST[task.kind]: "maximize", "parameters": "minimize"}


@dataclass(frozen=True)
class Context:
    """What an objective may look at.

    Args:
        network: The network; trained, unless the objective is cheap.
        modalities: The dataset's modalities.
        task: The dataset's task.
        sample: One training sample, as a batch.
        outputs: Outputs on the evaluated split, `(N, out_dim)`; None before training.
        labels: Labels of that split, `(N, …)`; None before training.
        split: That split; None before training.
        batch: Some training samples; None where there are none but `sample`.
    """

    network: Network
    modalities: Mapping[str, ModalitySpec]
    task: Task
    sample: Batch
    outputs: Tensor | None = None
    labels: Tensor | None = None
    split: Split | None = None
    batch: Batch | None = None

    @property
    def some(self) -> Batch:
        """Some training samples, one at least."""
        return self.batch or self.sample

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """The network without dropout and gradients; afterwards it is in the mode that it was in."""
        training = self.network.training
        learned = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.network.eval()
        for parameter in learned:  # torch's counter of flops stumbles over one that is a module's input
            parameter.requires_grad_(False)
        try:
            with torch.no_grad():
                yield
        finally:
            self.network.train(training)
            for parameter in learned:
                parameter.requires_grad_(True)

    def forward(self) -> Tensor:
        """The network's outputs for the sample, `(1, out_dim)`."""
        outputs: Tensor = self.network(self.sample.inputs, self.sample.masks, self.sample.present)
        return outputs
