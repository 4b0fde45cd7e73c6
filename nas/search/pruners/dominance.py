"""`dominance`: stops a trial when even an optimistic guess of its end is dominated."""

import numpy as np
from numpy.typing import NDArray

from nas.registry import register
from nas.results.records import COMPLETE, History, Record
from nas.search.pruners._rungs import losses_at
from nas.space import Float, Int


@register("pruner", "dominance")
class Dominance:
    """Stops what cannot reach the front any more.

    Size is exact before the first step; only what the training changes is uncertain. A linear
    regression over the complete trials predicts the end of a learning curve from its value now and
    from the exact objectives; the prediction, better by `margin` standard errors, is an optimistic
    end. The trial is stopped when a member of the front dominates even that.

    Args:
        margin: Standard errors of the prediction that a trial is given; larger stops fewer.
        startup: Complete trials before any is stopped.
        first: Epochs before a trial may be stopped.
    """

    domains = {"margin": Float(1.0, 4.0), "startup": Int(5, 20), "first": Int(1, 4)}

    def __init__(self, margin: float = 2.5, startup: int = 8, first: int = 1) -> None:
        for name, value, low in (("margin", margin, 0), ("startup", startup, 4), ("first", first, 1)):
            if value < low:
                raise ValueError(f"{name} must be at least {low}, not {value}")
        self.margin = margin
        self.startup = startup
        self.first = first

    def stops(self, trial: Record, history: History) -> bool:
        """Whether a member of the front dominates the best end that is still credible."""
        epoch = len(trial.metrics)
        if epoch < self.first or len(history.candidates) < self.startup:
            return False
        best = self._optimistic(trial, history, epoch)
        front = np.array([history.losses(member.values) for member in history.front()])
        dominates = (front <= best).all(1) & (front < best).any(1)
        return bool(dominates.any())

    def _optimistic(self, trial: Record, history: History, epoch: int) -> NDArray[np.float64]:
        """The best losses that the trial may end with; exact where they are exact."""
        own = np.array(losses_at(history, trial, epoch))
        done = [record for record in history.records if record.state == COMPLETE]
        known = [(record, losses_at(history, record, epoch)) for record in done]
        then = np.array([losses for _, losses in known if losses is not None])
        ends = np.array([history.losses(record.values) for record, losses in known if losses is not None])
        usable = np.isfinite(then).all(1) & np.isfinite(ends).all(1) if len(then) else np.zeros(0, bool)
        names = list(history.objectives)
        uncertain = [index for index, name in enumerate(names) if name not in trial.cheap]
        best = own.copy()
        for index in uncertain:
            if usable.sum() < self.startup or not np.isfinite(own).all():
                best[index] = -np.inf if np.isfinite(own).all() else np.inf
            else:
                best[index] = _lower_bound(then[usable], ends[usable, index], own, index, self.margin)
        return best


def _lower_bound(
    then: NDArray[np.float64], ends: NDArray[np.float64], own: NDArray[np.float64], index: int, margin: float
) -> float:
    """The loss at the end that regression predicts, less `margin` standard errors of the prediction."""
    design = _design(then, index, then)
    point = _design(own[None], index, then)[0]
    ridge = 1e-3 * np.eye(design.shape[1])
    inverse = np.linalg.inv(design.T @ design + ridge)
    weights = inverse @ design.T @ ends
    spare = max(1, len(ends) - design.shape[1])
    variance = ((ends - design @ weights) ** 2).sum() / spare
    return float(point @ weights - margin * np.sqrt(variance * (1 + point @ inverse @ point)))


def _design(points: NDArray[np.float64], index: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of the regression: one, and every loss in units of its spread, large ranges by logarithm."""
    columns = [np.ones(len(points))]
    for column, reference in zip(points.T, scale.T, strict=True):
        logarithmic = reference.min() > 0 and reference.max() > 3 * reference.min()
        column, reference = (np.log(column), np.log(reference)) if logarithmic else (column, reference)
        columns.append((column - reference.mean()) / (reference.std() + 1e-12))
    return np.stack(columns, 1)
