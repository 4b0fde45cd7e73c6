"""`tpe`: Optuna's tree-structured Parzen estimator."""

from optuna.samplers import TPESampler

from nas.registry import register
from nas.search.samplers._optuna import OptunaSampler


@register("sampler", "tpe")
class TPE(OptunaSampler):
    """Multi-objective TPE (Ozaki et al., GECCO 2020), over groups of decisions that occur together.

    Args:
        startup: Random proposals before the first model.
        history: Most recent trials that it sees, beside the front of those before.
    """

    def __init__(self, startup: int = 10, history: int = 100) -> None:
        super().__init__(
            lambda seed: TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True),
            history,
        )
