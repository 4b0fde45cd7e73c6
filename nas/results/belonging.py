"""How sure it is that a candidate belongs to the front, given that trainings are noisy."""

import numpy as np
from numpy.typing import NDArray

from nas.results.dominance import non_dominated
from nas.results.records import History
from nas.results.spread import losses_of, pooled
from nas.seeds import derive

DRAWS = 100
CONFIDENCE = 0.95


def noise(history: History) -> NDArray[np.float64]:
    """Standard deviation between trainings of one architecture, pooled over candidates, per objective.

    Zero for objectives that a training does not change. Before anything has been replicated: a tenth
    of the spread between candidates, for the objectives that trainings do change.
    """
    variance, spare = _between_trainings(history)
    if spare:
        return np.sqrt(variance)
    changing = {name for record in history.records for epoch in record.metrics for name in epoch}
    means = np.array(history.points)
    uncertain = np.array([name in changing for name in history.objectives])
    return np.where(uncertain, means.std(0) / 10, 0.0)


def _between_trainings(history: History) -> tuple[NDArray[np.float64], int]:
    """Pooled variance of the trainings of one architecture, per objective, and its degrees of freedom."""
    values = [losses_of(history, candidate) for candidate in history.candidates]
    return pooled(values) if values else (np.zeros(len(history.objectives)), 0)


def margins(history: History) -> dict[int, dict[str, float]]:
    """By candidate and objective, by how much the mean of its trainings may be off, at a confidence of 95 %.

    Half of Student's interval with the deviation that is pooled over all candidates, so that one which
    was trained twice, or once, has one that means something. Objectives that a training does not change
    have none, and where nothing was replicated nobody has.

    Args:
        history: The trials.
    """
    variance, spare = _between_trainings(history)
    if not spare:
        return {}
    from scipy.stats import t  # takes a second, which a search without replicates is spared

    width = t.ppf(0.5 + CONFIDENCE / 2, spare) * np.sqrt(variance)
    return {
        candidate.number: {
            name: float(half / np.sqrt(len(candidate.records)))
            for name, half in zip(history.objectives, width, strict=True)
            if half > 0
        }
        for candidate in history.candidates
    }


def certainty(history: History) -> dict[int, float]:
    """Probability of each candidate to be on the front, by its number; the same on every call."""
    return belonging(history, derive("certainty", len(history.records)))


def belonging(history: History, seed: int) -> dict[int, float]:
    """Probability of each candidate to be on the front, by its number.

    Every mean is drawn from a normal distribution with the pooled noise over the square root of the
    trainings that it stands on, and the front is taken again, `DRAWS` times.

    Args:
        history: The trials.
        seed: Seed of the draws.
    """
    candidates = history.candidates
    if not candidates:
        return {}
    means = np.array(history.points)
    counts = np.array([len(candidate.records) for candidate in candidates])
    errors = noise(history)[None] / np.sqrt(counts)[:, None]
    near = _near(means, errors)
    rng = np.random.default_rng(seed)
    wins = np.zeros(len(candidates))
    for _ in range(DRAWS):
        drawn = means[near] + errors[near] * rng.normal(size=means[near].shape)
        wins[near] += non_dominated(drawn)
    return {c.number: float(share) for c, share in zip(candidates, wins / DRAWS, strict=True)}


def _near(means: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Candidates that two standard errors in their favour would bring to the front."""
    best = means - 2 * errors
    worst = means + 2 * errors
    beaten = [bool(((worst <= point).all(1) & (worst < point).any(1)).any()) for point in best]
    return np.flatnonzero(~np.array(beaten))
