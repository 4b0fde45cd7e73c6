"""`r2`: coefficient of determination."""

import torch
from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric, as_targets
from nas.registry import register


@register("objective", "r2")
class R2(Metric):
    """Share of the targets' variance that is explained: 1 is perfect, 0 what their mean reaches.

    The mean over the targets. A single sample has no variance, and no such figure.
    """

    tasks = ("regression",)

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """1 - squared error / squared deviation from the mean."""
        from torchmetrics.functional import r2_score

        if len(labels) < 2:
            return torch.tensor(float("nan"))
        return r2_score(*as_targets(outputs, labels))
