"""`multilabel_accuracy`: share of the labels that are right."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric
from nas.registry import register


@register("objective", "multilabel_accuracy")
class MultilabelAccuracy(Metric):
    """Share of all labels of all samples that are predicted rightly at a probability of a half, 0 to 1."""

    tasks = ("multilabel",)

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """One minus the Hamming loss."""
        from torchmetrics.functional.classification import multilabel_accuracy

        return multilabel_accuracy(outputs.sigmoid(), labels.long(), task.out_dim, average="micro")
