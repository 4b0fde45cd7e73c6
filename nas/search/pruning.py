"""When a trial is not trained to its end."""

from typing import Any

from nas.results.records import PRUNED, REPEATS, TUNED, History, Record


def stops(pruner: Any, trial: Record, history: History) -> bool:
    """Whether a trial is stopped after an epoch.

    A pruner judges the first training of a network. A replicate is stopped with the training that it
    repeats, and otherwise never: were it judged by itself, the good trainings alone would count in the
    mean of the network. What ends a search trains to its end.

    Args:
        pruner: Judges trials.
        trial: The trial, with its metrics so far.
        history: All trials.
    """
    if trial.origin.operator == TUNED:
        return False
    if trial.origin.operator in REPEATS:
        return history.records[trial.origin.parents[0]].state == PRUNED
    return bool(pruner.stops(trial, history.searched()))
