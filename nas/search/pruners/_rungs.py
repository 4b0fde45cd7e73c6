"""What pruners share: the losses of trials at one epoch."""

import math
from collections.abc import Sequence

from nas.results.records import PRUNED, History, Record


def losses_at(history: History, record: Record, epoch: int) -> tuple[float, ...] | None:
    """The losses of a trial after an epoch, counted from 1; None where it has not come so far."""
    if len(record.metrics) < epoch:
        return None
    return history.losses({**record.cheap, **record.metrics[epoch - 1]})


def peers(history: History, trial: Record, epoch: int) -> list[tuple[float, ...]]:
    """Losses of all other trials that have come as far as an epoch, stopped ones included.

    A trial that was stopped before takes part with what it had then; one that failed does not.
    """
    at = (
        losses_at(history, record, epoch)
        for record in history.records
        if record.number != trial.number and (record.failure is None or record.state == PRUNED)
    )
    return [losses for losses in at if losses is not None]


def finite(losses: Sequence[float]) -> bool:
    """Whether all losses are numbers; NaN has become infinite by now."""
    return all(math.isfinite(loss) for loss in losses)
