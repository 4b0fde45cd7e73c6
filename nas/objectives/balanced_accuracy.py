"""`balanced_accuracy`: accuracy in which every class counts alike."""

import torch
from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric
from nas.registry import register


@register("objective", "balanced_accuracy")
class BalancedAccuracy(Metric):
    """Mean over the classes of the split of the share of a class's samples that are right, 0 to 1."""

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The mean recall."""
        from torchmetrics.functional.classification import multiclass_recall

        recalls = multiclass_recall(outputs.argmax(1), labels, task.out_dim, average="none")
        return recalls[torch.bincount(labels, minlength=task.out_dim) > 0].mean()
