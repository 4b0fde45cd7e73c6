"""`weighted_f1`: F1 in which classes or labels count by their number of samples."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric
from nas.registry import register


@register("objective", "weighted_f1")
class WeightedF1(Metric):
    """Harmonic mean of precision and recall, 0 to 1; classes or labels count by their number of samples.

    A label counts as predicted where its probability is at least a half.
    """

    tasks = ("classification", "multilabel")

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The weighted mean of the F1 of every class or label."""
        from torchmetrics.functional.classification import multiclass_f1_score, multilabel_f1_score

        if task.kind == "classification":
            return multiclass_f1_score(outputs.argmax(1), labels, task.out_dim, average="weighted")
        return multilabel_f1_score(outputs.sigmoid(), labels.long(), task.out_dim, average="weighted")
