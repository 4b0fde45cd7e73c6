"""When a whole search ends before it has its trials."""

import numpy as np

from nas.experiment import Stop
from nas.results.records import COMPLETE, REJECTED, History, Record

REJECTIONS = 300


def reason_to_stop(stop: Stop, history: History, seconds: float) -> str | None:
    """Why no more trials are to be asked for; None to go on.

    Args:
        stop: What was asked for.
        history: The trials so far.
        seconds: Time since the search was started or resumed.
    """
    if stop.seconds is not None and seconds >= stop.seconds:
        return f"it has searched for {stop.seconds:g} seconds"
    if stop.epochs is not None:
        trained = sum(len(record.metrics) for record in history.records)
        if trained >= stop.epochs:
            return f"it has trained {trained} epochs"
    if stop.stagnation is not None and stands_still(history, stop.stagnation):
        return f"none of the last {stop.stagnation} trials has improved the front"
    return _rejected_too_often(history)


def stands_still(history: History, trials: int) -> bool:
    """Whether none of the last so many finished trials has improved the front.

    One improves it that none before it dominates, nor equals.
    """
    finished = _by_told(history)
    if len(finished) < trials:
        return False
    losses = np.array([history.losses(record.values) for record in finished])
    return not any(
        finished[place].state == COMPLETE and not (losses[:place] <= losses[place]).all(1).any()
        for place in range(len(finished) - trials, len(finished))
    )


def _rejected_too_often(history: History) -> str | None:
    late = len(history.records) - REJECTIONS  # who was told so late is among the last in any case
    if any((r.told or 0) >= late and r.finished and r.state != REJECTED for r in reversed(history.records)):
        return None
    told = sorted((r for r in history.records if r.told is not None), key=lambda r: r.told or 0)
    last = told[-REJECTIONS:]
    if len(last) < REJECTIONS or any(record.state != REJECTED for record in last):
        return None
    excesses = [history.excesses(record.cheap) for record in last]
    kept = {name: sum(each[name] <= 0 for each in excesses) for name in sorted(history.constraints)}
    said = (f"{name} was {history.constraints[name]} in {kept[name] or 'none'} of them" for name in kept)
    return f"constraints rejected {REJECTIONS} trials in a row: {'; '.join(said)}"


def _by_told(history: History) -> list[Record]:
    finished = (r for r in history.records if r.told is not None and r.state != REJECTED)
    return sorted(finished, key=lambda record: record.told or 0)
