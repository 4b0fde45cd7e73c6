"""`exact_match`: share of the samples of which every label is right."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric
from nas.registry import register


@register("objective", "exact_match")
class ExactMatch(Metric):
    """Share of the samples of which all labels are predicted rightly at a probability of a half, 0 to 1."""

    tasks = ("multilabel",)

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The subset accuracy."""
        from torchmetrics.functional.classification import multilabel_exact_match

        return multilabel_exact_match(outputs.sigmoid(), labels.long(), task.out_dim)
