"""`rmse`: root mean squared error."""

from torch import Tensor

from nas.modality import Task
from nas.objectives._metric import Metric, as_targets
from nas.registry import register


@register("objective", "rmse")
class RMSE(Metric):
    """Root of the mean squared error in the targets' own units, over all targets."""

    direction = "minimize"
    tasks = ("regression",)

    def measure(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The root of the mean of (output - target)²."""
        from torchmetrics.functional import mean_squared_error

        return mean_squared_error(*as_targets(outputs, labels), squared=False)
