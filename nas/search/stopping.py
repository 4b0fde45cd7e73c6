"""When a whole search ends before it has its trials."""

from nas.experiment import Stop
from nas.results.dominance import non_dominated
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
    if stop.stagnation is not None and stagnation(history) >= stop.stagnation:
        return f"none of the last {stop.stagnation} trials has improved the front"
    return _rejected_too_often(history)


def stagnation(history: History) -> int:
    """Finished trials since one improved the front: was dominated by none before it, nor equal to one."""
    finished = _by_told(history)
    front: list[tuple[float, ...]] = []
    last = 0
    for position, record in enumerate(finished, start=1):
        if record.state != COMPLETE:
            continue
        losses = history.losses(record.values)
        if losses not in front and non_dominated([*front, losses])[-1]:
            front = [one for one in front if non_dominated([one, losses])[0]] + [losses]
            last = position
    return len(finished) - last


def _rejected_too_often(history: History) -> str | None:
    late = len(history.records) - REJECTIONS  # who was told so late is among the last in any case
    if any((r.told or 0) >= late and r.finished and r.state != REJECTED for r in reversed(history.records)):
        return None
    told = sorted((r for r in history.records if r.told is not None), key=lambda r: r.told or 0)
    last = told[-REJECTIONS:]
    if len(last) < REJECTIONS or any(record.state != REJECTED for record in last):
        return None
    names = {name for record in last for name, value in history.excesses(record.cheap).items() if value > 0}
    least = (f"{name} was {history.constraints[name]} in none of them" for name in sorted(names))
    return f"constraints rejected {REJECTIONS} trials in a row: {'; '.join(least)}"


def _by_told(history: History) -> list[Record]:
    finished = (r for r in history.records if r.told is not None and r.state != REJECTED)
    return sorted(finished, key=lambda record: record.told or 0)
