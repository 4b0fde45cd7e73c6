"""`auroc`: area under the receiver operating characteristic."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric, mean_over_known, probabilities
from nas.registry import register


@register("objective", "auroc")
class AUROC(Metric):
    """Mean area under the receiver operating characteristic, 0 to 1.

    Of every class against all others, or of every label; those that all samples of the split have, or
    none, have no such figure and are left out.
    """

    tasks = ("classification", "multilabel")

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The mean over the classes or labels."""
        from torchmetrics.functional.classification import multiclass_auroc, multilabel_auroc

        of = multiclass_auroc if task.kind == "classification" else multilabel_auroc
        figures = of(probabilities(outputs, task), labels.long(), task.out_dim, average="none")
        return mean_over_known(figures, labels, task)
