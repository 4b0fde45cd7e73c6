"""Which decisions of the search space matter for which objective."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.experiment import Direction

Importances: TypeAlias = Mapping[str, Mapping[str, float]]

LEAST = 20  # complete trials below which a share says nothing
QUANTILE = 0.25


def importances(study: optuna.Study, objectives: Mapping[str, Direction]) -> Importances:
    """By objective: the share of each decision in what sets the best quarter of the networks apart.

    Conditional PED-ANOVA (Watanabe et al., IJCAI 2023), which knows that a decision is made in a part
    of the space alone. Empty where there are too few complete trials.

    Args:
        study: The study as it is stored.
        objectives: Direction by objective, in the order of the values.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < LEAST:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # takes seconds

    evaluator = PedAnovaImportanceEvaluator(target_quantile=QUANTILE)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, (name, direction) in enumerate(objectives.items()):
            sign = -1.0 if direction == "maximize" else 1.0
            target = partial(_loss, place=place, sign=sign)
            shares = get_param_importances(study, evaluator=evaluator, target=target)
            found[name] = {path: share for path, share in shares.items() if share > 0}
    return found


def _loss(trial: FrozenTrial, place: int, sign: float) -> float:
    return sign * trial.values[place]
