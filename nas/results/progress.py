"""How far a search has come: the hypervolume of its front, trial after trial."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.experiment import Direction
from nas.results.dominance import hypervolume, non_dominated
from nas.results.records import COMPLETE, ENDS, REJECTED, Candidate, History, Record
from nas.space import Architecture

CORNER = 1.1  # the reference point, a tenth beyond the worst, so that the ends of a front count as well
WIDE = 10  # the largest over the smallest value from which on an objective counts by its logarithm


@dataclass(frozen=True)
class Scale:
    """Brings every objective to a loss between 0, the best value seen, and 1, the worst.

    Args:
        objectives: Direction by objective.
        best: Smallest loss of each objective.
        worst: Largest loss of each objective.
        logarithmic: Whether an objective counts by its logarithm.
    """

    objectives: Mapping[str, Direction]
    best: NDArray[np.float64]
    worst: NDArray[np.float64]
    logarithmic: NDArray[np.bool_]

    @classmethod
    def of(cls, histories: Sequence[History]) -> "Scale":
        """The scale that several histories with the same objectives share; from their candidates."""
        objectives = histories[0].objectives
        values = np.array(
            [
                [candidate.values[name] for name in objectives]
                for history in histories
                for candidate in history.candidates
            ]
        ).reshape(-1, len(objectives))
        logarithmic = np.array([is_wide(column) for column in values.T])
        zeros = np.zeros(len(objectives))
        losses = cls(objectives, zeros, zeros, logarithmic)._losses(values)
        losses = np.where(np.isfinite(losses), losses, np.nan)[np.isfinite(losses).any(1)]
        if not len(losses):
            return cls(objectives, zeros, zeros, logarithmic)
        return cls(objectives, np.nanmin(losses, 0), np.nanmax(losses, 0), logarithmic)

    def __call__(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """The losses of some values, NaN as infinite."""
        losses = self._losses(np.array([[values[name] for name in self.objectives]]))[0]
        span = np.where(self.worst > self.best, self.worst - self.best, 1)
        scaled = (losses - self.best) / span
        return tuple(np.where(np.isnan(scaled), np.inf, scaled).tolist())

    def volume(self, losses: Sequence[tuple[float, ...]]) -> float:
        """Share of the space up to the reference point that some points dominate, 0 to 1."""
        size = len(self.objectives)
        return hypervolume(losses, [CORNER] * size) / CORNER**size

    def _losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        signs = np.array([-1.0 if way == "maximize" else 1.0 for way in self.objectives.values()])
        with np.errstate(divide="ignore", invalid="ignore"):
            return signs * np.where(self.logarithmic, np.log(values), values)


def is_wide(values: Iterable[float]) -> bool:
    """Whether positive values differ by more than a factor, so that a logarithm tells them apart."""
    known = [value for value in values if value == value]
    return bool(known) and min(known) > 0 and max(known) > WIDE * min(known)


def volumes(history: History, scale: Scale) -> dict[int, float]:
    """Hypervolume of the front after each finished trial, by its number, in the order of finishing.

    Trials that a constraint rejected are left out: they cost nothing.
    """
    trainings: dict[Architecture, list[Record]] = {}
    points: dict[Architecture, tuple[float, ...]] = {}
    front: list[tuple[float, ...]] = []
    found, volume = {}, 0.0
    for record in finished(history):
        if record.state == COMPLETE:
            own = trainings.setdefault(record.architecture, [])
            own.append(record)
            points[record.architecture] = point = scale(Candidate(tuple(own)).values)
            # Another training moves a mean, by which a point that was hidden may come back.
            others = list(points.values()) if len(own) > 1 else [*front, point]
            front = [one for one, kept in zip(others, non_dominated(others), strict=True) if kept]
            volume = scale.volume(front) if len(own) > 1 or point in front else volume
        found[record.number] = volume
    return found


def finished(history: History) -> list[Record]:
    """The trials that have ended and that count, in the order in which they ended."""
    ended = (record for record in history.records if record.told is not None and record.state != REJECTED)
    return sorted(ended, key=lambda record: record.told or 0)


def seconds(events: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Seconds of search until each trial ended, by its number; pauses between sessions are left out.

    Args:
        events: The decisions of the run, oldest first.
    """
    found: dict[int, float] = {}
    total, before = 0.0, None
    running: set[int] = set()
    for event in events:
        now = datetime.fromisoformat(event["time"])
        if before is not None and running and event["event"] != "restarted":
            total += (now - before).total_seconds()
        before = now
        if "trial" not in event:
            continue
        if event["event"] in ("asked", "restarted"):
            running.add(event["trial"])
        elif event["event"] in (*ENDS.values(), "released"):
            running.discard(event["trial"])
        if event["event"] in ENDS.values():
            found[event["trial"]] = total
    return found
