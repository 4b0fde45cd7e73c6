"""Learning curves: what a trial may end with, from what it has shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.results.records import COMPLETE, History, Record

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class End:
    """The losses that a trial is expected to end with.

    Args:
        losses: `(m,)`, one per objective.
        errors: Standard errors of their prediction; 0 where they are exact.
    """

    losses: Losses
    errors: Losses


def losses_at(history: History, record: Record, epoch: int) -> tuple[float, ...] | None:
    """The losses of a trial after an epoch, counted from 1; None where it has not come so far."""
    if len(record.metrics) < epoch:
        return None
    return history.losses({**record.cheap, **record.metrics[epoch - 1]})


def expected_end(history: History, trial: Record, least: int) -> End | None:
    """Predict the end of a trial by linear regression over the curves of the complete trials.

    The regression goes from all losses after the trial's last epoch, exact ones included, to those at
    the end.

    Args:
        history: The trials to learn from.
        trial: A trial that has trained for at least one epoch.
        least: Complete curves that are needed.

    Returns:
        None where there are too few; infinite losses for a trial that has become NaN.
    """
    epoch = len(trial.metrics)
    now = np.array(losses_at(history, trial, epoch))
    then, ends = _curves(history, epoch)
    if len(then) < least:
        return None
    errors = np.zeros(len(now))
    if not np.isfinite(now).all():
        return End(np.where(np.isfinite(now), now, np.inf), errors)
    expected = now.copy()
    for index, name in enumerate(history.objectives):
        if name not in trial.cheap:
            expected[index], errors[index] = _regress(then, ends[:, index], now)
    return End(expected, errors)


def _curves(history: History, epoch: int) -> tuple[Losses, Losses]:
    """Losses of the complete trials after an epoch, and at their ends: `(n, m)` each."""
    done: Sequence[Record] = [record for record in history.records if record.state == COMPLETE]
    pairs = [(losses_at(history, record, epoch), history.losses(record.values)) for record in done]
    both = np.array([[then, end] for then, end in pairs if then is not None])
    if not len(both):
        return np.empty((0, 0)), np.empty((0, 0))
    usable = both[np.isfinite(both).all((1, 2))]
    return usable[:, 0], usable[:, 1]


def _regress(then: Losses, ends: Losses, now: Losses) -> tuple[float, float]:
    """Prediction of a linear regression, slightly shrunk, and its standard error."""
    design, point = _design(then, then), _design(now[None], then)[0]
    inverse = np.linalg.inv(design.T @ design + 1e-3 * np.eye(design.shape[1]))
    weights = inverse @ design.T @ ends
    spare = max(1, len(ends) - design.shape[1])
    variance = ((ends - design @ weights) ** 2).sum() / spare
    return float(point @ weights), float(np.sqrt(variance * (1 + point @ inverse @ point)))


def _design(points: Losses, reference: Losses) -> Losses:
    """Columns of the regression: one, and every loss in units of its spread, large ranges by logarithm."""
    columns = [np.ones(len(points))]
    for column, scale in zip(points.T, reference.T, strict=True):
        if scale.min() > 0 and scale.max() > 3 * scale.min():
            column, scale = np.log(column), np.log(scale)
        columns.append((column - scale.mean()) / (scale.std() + 1e-12))
    return np.stack(columns, 1)
