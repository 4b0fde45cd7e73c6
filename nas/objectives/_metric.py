"""What the objectives share that compare outputs with labels."""

import math
import warnings
from typing import ClassVar

import torch
from torch import Tensor

from nas.modality import Task
from nas.objectives import Context


class Metric:
    """A metric of the outputs on the evaluated split; subclasses give the formula in `measure`."""

    direction: ClassVar[str] = "maximize"
    cheap = False
    logged = False
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def __call__(self, context: Context) -> float:
        """The metric; NaN where an output is not a number.

        Raises:
            ValueError: The network has not been trained.
        """
        if context.outputs is None or context.labels is None:
            raise ValueError(f"{type(self).__name__} needs a trained network's outputs")
        if context.outputs.isnan().any():
            return float("nan")
        return self._figure(context.outputs, context.labels, context.task)

    def is_defined(self, labels: Tensor, task: Task) -> bool:
        """Whether it is a number on these labels, whatever the outputs."""
        return not math.isnan(self._figure(torch.zeros(len(labels), task.out_dim), labels, task))

    def _figure(self, outputs: Tensor, labels: Tensor, task: Task) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics tells of classes without a sample, left out here
            return float(self.measure(outputs, labels, task))

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The metric of outputs `(N, out_dim)`, as the network gives them, and labels."""
        raise NotImplementedError


def as_targets(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and labels of a regression, both `(N, T)`."""
    return outputs, labels.to(outputs).view_as(outputs)


def probabilities(outputs: Tensor, task: Task) -> Tensor:
    """Of every class or label, `(N, out_dim)`."""
    return outputs.softmax(1) if task.kind == "classification" else outputs.sigmoid()


def mean_over_known(values: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Mean of one value per class or label, without those that all samples have, or none.

    Args:
        values: `(out_dim,)`.
        labels: Class indices `(N,)`, or zeros and ones `(N, out_dim)`.
        task: What they are of.
    """
    if task.kind == "classification":
        counts = torch.bincount(labels, minlength=task.out_dim)
    else:
        counts = labels.long().sum(0)
    known = (counts > 0) & (counts < len(labels))
    return values[known].mean()
