"""`mae`: mean absolute error."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric, as_targets
from nas.registry import register


@register("objective", "mae")
class MAE(Metric):
    """Mean absolute error in the targets' own units, over all targets."""

    direction = "minimize"
    tasks = ("regression",)

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The mean of |output - target|."""
        from torchmetrics.functional import mean_absolute_error

        return mean_absolute_error(*as_targets(outputs, labels))
