"""Records: what is known of every trial of a run."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import TypeAlias

from nas.experiment import Direction, excess
from nas.results.dominance import non_dominated
from nas.space import Architecture

COMPLETE, FAILED, PRUNED, REJECTED, RUNNING, WAITING = (
    "complete",
    "failed",
    "pruned",
    "rejected",
    "running",
    "waiting",
)
TUNED = "tuned"  # the operator of a trial that trains on as a whole what frozen encoders have begun
REPEATS = {"replicate", "race"}  # the operators of trials that train a network once more
FINISHED = {COMPLETE, FAILED, PRUNED, REJECTED}
ENDS = {state: "told" if state == COMPLETE else state for state in FINISHED}  # the event, by the state

Losses: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Origin:
    """Where a proposal comes from.

    Args:
        operator: What made it: `sampled`, `replicate`, or what the sampler calls it.
        parents: Numbers of the trials that it was made from.
        inherits: Number of the trial whose weights its training starts from; None from scratch.
    """

    operator: str = "sampled"
    parents: tuple[int, ...] = ()
    inherits: int | None = None


@dataclass(frozen=True)
class Record:
    """One trial.

    Args:
        number: Number of the trial, counted from 0.
        seed: Seed of everything random in the trial.
        architecture: What was evaluated.
        state: `waiting`, `running`, `complete`, `failed`, `pruned`, or `rejected` by a constraint.
        asked_after: How many trials had finished when this one was asked for.
        origin: Where the proposal came from.
        cheap: Objectives known before the training, by name; empty until they are measured.
        metrics: Per finished epoch the objectives that the training changes, by name.
        told: Position in the order of finishing; None while unfinished.
        values: Final objectives and logged measures by name; empty unless complete.
        seconds: Time of the evaluation.
        failure: Kind of the failure and its message.
        wiring: Measures of the wiring by `start` and `end` of the training, then by sparse layer, then by
            name; empty unless complete.
        fold: Which fold of the samples it is measured on.
    """

    number: int
    seed: int
    architecture: Architecture
    state: str
    asked_after: int
    origin: Origin = Origin()
    cheap: Mapping[str, float] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, float]] = ()
    told: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    failure: tuple[str, str] | None = None
    wiring: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    fold: int = 0

    @property
    def finished(self) -> bool:
        """Whether this trial will not change any more."""
        return self.state in FINISHED

    @property
    def counts(self) -> bool:
        """Whether it uses up one of the trials that a search may have: not what a constraint has rejected
        before its training, nor what ends a search.
        """
        return self.state != REJECTED and self.origin.operator != TUNED


@dataclass(frozen=True)
class Candidate:
    """An architecture with its complete trials, of which there are several when it was replicated.

    Args:
        records: The complete trials by number; at least one.
    """

    records: tuple[Record, ...]

    @property
    def number(self) -> int:
        """Number of the first trial, by which the candidate is known."""
        return self.records[0].number

    @property
    def architecture(self) -> Architecture:
        """What was evaluated."""
        return self.records[0].architecture

    @cached_property
    def values(self) -> Mapping[str, float]:
        """Mean of every objective and logged measure over the trials."""
        if len(self.records) == 1:
            return self.records[0].values
        names = self.records[0].values
        return {name: fmean(record.values[name] for record in self.records) for name in names}

    @property
    def summary(self) -> Record:
        """The first trial with the means as its values."""
        return replace(self.records[0], values=self.values)

    def spread(self, name: str) -> float | None:
        """Sample standard deviation of an objective over the trials; None for one trial."""
        values = [record.values[name] for record in self.records]
        return stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class History:
    """The trials of a study so far, by number, and what it is after.

    Args:
        records: One record per trial, by number.
        objectives: Direction (`maximize` or `minimize`) by objective, in the order of the front.
        constraints: Bounds on objectives that are known before the training, such as
            `{"parameters": "<= 200000"}`.
        standing: How the candidates of these records stand, where account of it is kept; found out from
            the records for None.
        scouted: Networks of the space that are not trained, with what is exact before a training.
    """

    records: Sequence[Record]
    objectives: Mapping[str, Direction]
    constraints: Mapping[str, str] = field(default_factory=dict)
    standing: "Standing | None" = field(default=None, compare=False, repr=False)
    scouted: Mapping[Architecture, Mapping[str, float]] = field(default_factory=dict)

    def excesses(self, cheap: Mapping[str, float]) -> dict[str, float]:
        """By how much a network exceeds every constraint, zero or less where it keeps it; what is known."""
        return {name: excess(cheap[name], bound) for name, bound in self.constraints.items() if name in cheap}

    def losses(self, values: Mapping[str, float]) -> Losses:
        """The objectives among some values, all to be minimised; what is missing or NaN is infinite."""
        return tuple(
            _loss(values.get(name, math.nan), direction) for name, direction in self.objectives.items()
        )

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The architectures that have a complete trial, by the number of their first."""
        if self.standing is not None:
            return list(self.standing.candidates)
        found: dict[Architecture, list[Record]] = {}
        for record in self.records:
            if record.state == COMPLETE:
                found.setdefault(record.architecture, []).append(record)
        return [Candidate(tuple(records)) for records in found.values()]

    @cached_property
    def points(self) -> list[Losses]:
        """The losses of the candidates."""
        if self.standing is not None:
            return list(self.standing.points)
        return [self.losses(candidate.values) for candidate in self.candidates]

    def front(self) -> list[Candidate]:
        """The candidates whose means no other's dominate, ordered by the last objective."""
        if self.standing is not None:
            return _in_order(self.standing.front)
        return _in_order(_undominated(zip(self.points, self.candidates, strict=True)))

    def searched(self) -> "History":
        """The trials without those that end a search: these have trained on, and no other can keep up."""
        records = [record for record in self.records if record.origin.operator != TUNED]
        same = len(records) == len(self.records)
        return self if same else History(records, self.objectives, self.constraints)


class Standing:
    """The candidates of a study and their front, kept up to date as trials become complete.

    They are what `History` finds out from the records of all trials. Here a new network costs no more
    than a comparison with the front.

    Args:
        objectives: Direction by objective.
    """

    def __init__(self, objectives: Mapping[str, Direction]) -> None:
        self.candidates: list[Candidate] = []
        self.points: list[Losses] = []
        self.front: list[tuple[Losses, Candidate]] = []
        self._losses = History([], objectives).losses
        self._numbers: dict[Architecture, int] = {}

    def add(self, record: Record) -> None:
        """Take note of a trial that has become complete."""
        earlier: tuple[Record, ...] = ()
        if (number := self._numbers.get(record.architecture)) is not None:
            place = self._place(number)
            earlier = self.candidates.pop(place).records
            self.points.pop(place)
        candidate = Candidate(tuple(sorted((*earlier, record), key=lambda one: one.number)))
        place, point = self._place(candidate.number), self._losses(candidate.values)
        self.candidates.insert(place, candidate)
        self.points.insert(place, point)
        self._numbers[record.architecture] = candidate.number
        # Another training moves a mean, by which a point that was hidden may come back.
        everyone = zip(self.points, self.candidates, strict=True)
        self.front = _undominated(everyone if earlier else [*self.front, (point, candidate)])

    def _place(self, number: int) -> int:
        return bisect_left(self.candidates, number, key=lambda candidate: candidate.number)


def _undominated(rivals: Iterable[tuple[Losses, Candidate]]) -> list[tuple[Losses, Candidate]]:
    rivals = list(rivals)
    kept = non_dominated([point for point, _ in rivals])
    return [rival for rival, stays in zip(rivals, kept, strict=True) if stays]


def _in_order(front: Iterable[tuple[Losses, Candidate]]) -> list[Candidate]:
    members = sorted(front, key=lambda member: (member[0][::-1], member[1].number))
    return [candidate for _, candidate in members]


def spread_out(front: Sequence[Candidate], most: int) -> list[Candidate]:
    """All of a front, or as many along the whole of it as `most`."""
    if len(front) <= most:
        return list(front)
    return [front[round(step * (len(front) - 1) / (most - 1))] for step in range(most)]


def _loss(value: float, direction: Direction) -> float:
    if math.isnan(value):
        return math.inf
    return -value if direction == "maximize" else value
