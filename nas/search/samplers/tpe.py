"""`tpe`: Optuna's tree-structured Parzen estimator."""

from collections import defaultdict
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.checks import check_positive, check_whole
from nas.registry import register
from nas.search.samplers._optuna import OptunaSampler


@register("sampler", "tpe")
class TPE(OptunaSampler):
    """Multi-objective TPE (Ozaki et al., GECCO 2020), over groups of decisions that occur together.

    Args:
        startup: Random proposals before the first model.
        history: Most recent trials that it sees, beside the front of those before.
        candidates: Values drawn for a group of decisions, of which the most promising is proposed; Optuna's
            own default is 24.
    """

    def __init__(self, startup: int = 10, history: int = 40, candidates: int = 12) -> None:
        check_whole("startup", startup, 0)
        check_positive("candidates", candidates)
        super().__init__(lambda seed: _Grouped(seed, startup, candidates), history)


class _Grouped(BaseSampler):
    """TPE's `group=True`, drawing a group when its first decision is asked for.

    TPE draws all groups before every trial. In a tree most of them belong to options that are not taken.

    Args:
        seed: Seed of the draws.
        startup: Random proposals before the first model.
        candidates: Values drawn for a group.
    """

    def __init__(self, seed: int, startup: int, candidates: int) -> None:
        self._joint, self._single = (
            TPESampler(
                seed=seed, n_startup_trials=startup, n_ei_candidates=candidates, multivariate=multivariate
            )
            for multivariate in (True, False)
        )
        self._groups: dict[str, dict[str, BaseDistribution]] = {}
        self._drawn: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._groups, self._drawn = _groups(study), {}
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self._drawn and param_name in self._groups:
            self._drawn |= self._joint.sample_relative(study, trial, self._groups[param_name])
        if param_name in self._drawn:
            return self._drawn[param_name]
        return self._single.sample_independent(study, trial, param_name, param_distribution)


def _groups(study: Study) -> dict[str, dict[str, BaseDistribution]]:
    """By parameter the parameters that have occurred in the same trials as it."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    occurring: dict[str, list[int]] = defaultdict(list)
    distributions: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if not distribution.single():
                occurring[name].append(trial.number)
                distributions[name] = distribution
    groups: dict[tuple[int, ...], dict[str, BaseDistribution]] = defaultdict(dict)
    for name in sorted(occurring):
        groups[tuple(occurring[name])][name] = distributions[name]
    return {name: group for group in groups.values() for name in group}
