"""`gp`: Optuna's Gaussian process."""

from optuna.samplers import GPSampler

from nas.checks import check_whole
from nas.registry import register
from nas.search.samplers._optuna import OptunaSampler


@register("sampler", "gp")
class GP(OptunaSampler):
    """Expected hypervolume improvement under Gaussian processes; slow beyond some hundred trials.

    Of a conditional space it models the decisions that all trials have in common, and samples the others.

    Args:
        startup: Random proposals before the first model.
        history: Most recent trials that it sees, beside the front of those before.
    """

    def __init__(self, startup: int = 10, history: int = 60) -> None:
        check_whole("startup", startup, 0)
        super().__init__(lambda seed: GPSampler(seed=seed, n_startup_trials=startup), history)
