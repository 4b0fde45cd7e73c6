"""The loss that fits a task."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.datasets import Split, all_labels
from nas.experiment import Training
from nas.modality import Task


@dataclass(frozen=True)
class Criterion:
    """From outputs and labels to the mean loss of a batch.

    Cross-entropy for a classification; binary cross-entropy, averaged over the labels, for a
    multilabel task; for a regression the squared error in units of the targets' deviations.

    Args:
        task: What is predicted.
        label_smoothing: Probability mass spread over all classes, or over both values of a label.
        weights: Weight of every class `(C,)`, or of the ones of every label `(L,)`; None: all are equal.
    """

    task: Task
    label_smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of outputs `(B, out_dim)`, a scalar; labels as `nas.modality.Task` says."""
        match self.task.kind:
            case "classification":
                smoothing = self.label_smoothing
                return F.cross_entropy(outputs, labels, self.weights, label_smoothing=smoothing)
            case "multilabel":
                wanted = labels.to(outputs) * (1 - self.label_smoothing) + self.label_smoothing / 2
                return F.binary_cross_entropy_with_logits(outputs, wanted, pos_weight=self.weights)
            case _:
                error = outputs - labels.to(outputs).view_as(outputs)
                return (error / outputs.new_tensor(self.task.scale or 1.0)).square().mean()

    @property
    def plain(self) -> "Criterion":
        """The same without smoothing and weights."""
        return replace(self, label_smoothing=0.0, weights=None)


def criterion(task: Task, settings: Training, training: Split, device: torch.device) -> Criterion:
    """The loss by which a network learns.

    Args:
        task: What it predicts.
        settings: Label smoothing and class weights.
        training: The training split, by which classes are balanced.
        device: Where the network is.
    """
    weights = None
    if settings.class_weights == "balanced":
        weights = balanced_weights(task, all_labels(training)).to(device)
    return Criterion(task, settings.label_smoothing, weights)


def balanced_weights(task: Task, labels: Tensor) -> Tensor:
    """Weights with which every class, or both values of every label, count alike.

    N / (C · n_c) for a class with n_c of N samples; n_0 / n_1 for the ones of a label. What no sample
    has weighs as if one had it.

    Args:
        task: A classification or a multilabel task.
        labels: Those of the training split.

    Returns:
        `(out_dim,)`.
    """
    count = len(labels)
    if task.kind == "classification":
        return count / (task.out_dim * torch.bincount(labels, minlength=task.out_dim).clamp(min=1).float())
    ones = labels.float().sum(0)
    return (count - ones).clamp(min=1) / ones.clamp(min=1)
