"""How much of the spread between trainings is seed, split and architecture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.results.records import Candidate, History


@dataclass(frozen=True)
class Spread:
    """Variance components of an objective.

    Args:
        objective: Its name.
        architecture: Variance between networks, without what their trainings add to it.
        training: Variance between trainings of one network: of its seed, and of its split where
            trainings take different folds.
        seed: Variance between trainings of one network on one split; None where it is not known.
    """

    objective: str
    architecture: float
    training: float
    seed: float | None

    @property
    def split(self) -> float | None:
        """What different folds add to the variance of the seed; None where it is not known."""
        return None if self.seed is None else max(0.0, self.training - self.seed)

    def __str__(self) -> str:
        whole = (self.architecture + self.training) or 1.0
        shares = {"architecture": self.architecture}
        if self.seed is None or self.split is None:
            shares["seed and split"] = self.training
        else:
            shares |= {"seed": self.training - self.split} | ({"split": self.split} if self.split else {})
        told = ", ".join(f"{name} {value / whole:.0%}" for name, value in shares.items())
        return f"{self.objective}: of the variance between trainings, {told}"


def spreads(history: History) -> list[Spread]:
    """The spread of every objective that differs between trainings of one network.

    Moment estimates of a random-effects model (Searle, Casella and McCulloch, Variance Components, 1992,
    section 3.6): the pooled variance within networks, and within their trainings on one fold; and the
    variance of the means of networks less what the former leaves in them.

    Args:
        history: The trials; those of a network that was trained once tell of architectures alone.
    """
    values = [losses_of(history, candidate) for candidate in history.candidates]
    if len(values) < 2:
        return []
    within, spare = pooled(values)
    if not spare:
        return []
    cells, spare_cells = pooled([cell for c in history.candidates for cell in _cells(history, c)])
    means = np.array([own.mean(0) for own in values])
    between = means.var(0, ddof=1) - within * np.mean([1 / len(own) for own in values])
    return [
        Spread(name, max(0.0, float(between[i])), float(within[i]), float(cells[i]) if spare_cells else None)
        for i, name in enumerate(history.objectives)
        if within[i] > 0
    ]


def losses_of(history: History, candidate: Candidate) -> NDArray[np.float64]:
    """The losses of every training of a candidate, `(trainings, objectives)`."""
    return np.array([history.losses(record.values) for record in candidate.records])


def _cells(history: History, candidate: Candidate) -> list[NDArray[np.float64]]:
    """Losses of the trainings on each fold."""
    folds = np.array([record.fold for record in candidate.records])
    losses = losses_of(history, candidate)
    return [losses[folds == fold] for fold in np.unique(folds)]


def pooled(groups: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], int]:
    """Variance within groups, per objective, and its degrees of freedom."""
    spare = sum(len(group) - 1 for group in groups)
    squares = sum((((group - group.mean(0)) ** 2).sum(0) for group in groups), np.zeros(groups[0].shape[1]))
    return squares / max(1, spare), spare
