"""`average_precision`: average precision, the area under precision over recall."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric, mean_over_known, probabilities
from nas.registry import register


@register("objective", "average_precision")
class AveragePrecision(Metric):
    """Mean average precision, the area under precision over recall, 0 to 1.

    Of every class against all others, or of every label; those that all samples of the split have, or
    none, have no such figure and are left out.
    """

    tasks = ("classification", "multilabel")

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The mean over the classes or labels."""
        from torchmetrics.functional.classification import (
            multiclass_average_precision,
            multilabel_average_precision,
        )

        of = multiclass_average_precision if task.kind == "classification" else multilabel_average_precision
        figures = of(probabilities(outputs, task), labels.long(), task.out_dim, average="none")
        return mean_over_known(figures, labels, task)
