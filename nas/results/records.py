"""Records: what is known of every trial of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.experiment import Direction
from nas.space import Architecture

COMPLETE, FAILED, PRUNED, REJECTED, RUNNING, WAITING = (
    "complete",
    "failed",
    "pruned",
    "rejected",
    "running",
    "waiting",
)
FINISHED = {COMPLETE, FAILED, PRUNED, REJECTED}


@dataclass(frozen=True)
class Record:
    """One trial.

    Args:
        number: Number of the trial, counted from 0.
        seed: Seed of everything random in the trial.
        architecture: What was evaluated.
        state: `waiting`, `running`, `complete`, `failed`, `pruned`, or `rejected` by a constraint.
        asked_after: How many trials had finished when this one was asked for.
        told: Position in the order of finishing; None while unfinished.
        values: Final objectives and logged measures by name; empty unless complete.
        seconds: Time of the evaluation.
        failure: Kind of the failure and its message.
        wiring: Measures of the wiring by `start` and `end` of the training, then by sparse layer, then by
            name; empty unless complete.
    """

    number: int
    seed: int
    architecture: Architecture
    state: str
    asked_after: int
    told: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    failure: tuple[str, str] | None = None
    wiring: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether this trial will not change any more."""
        return self.state in FINISHED


@dataclass(frozen=True)
class History:
    """The trials of a study so far, by number, and what it is after.

    Args:
        records: One record per trial; `records[n].number == n`.
        objectives: Direction (`maximize` or `minimize`) by objective, in the order of the front.
    """

    records: Sequence[Record]
    objectives: Mapping[str, Direction]

    def losses(self, record: Record) -> tuple[float, ...]:
        """The objectives of a complete record, all to be minimised."""
        return tuple(
            -record.values[name] if direction == "maximize" else record.values[name]
            for name, direction in self.objectives.items()
        )

    def front(self) -> list[Record]:
        """The complete records that no other dominates, ordered by the last objective."""
        complete = [record for record in self.records if record.state == COMPLETE]
        losses = [self.losses(record) for record in complete]
        members = [record for record, kept in zip(complete, non_dominated(losses), strict=True) if kept]
        return sorted(members, key=lambda record: (self.losses(record)[::-1], record.number))


def non_dominated(losses: Sequence[Sequence[float]]) -> list[bool]:
    """For every point, whether no other is at least as good everywhere and better somewhere.

    Args:
        losses: Points of equal length, smaller is better. Equal points do not dominate each other.
    """
    kept: list[Sequence[float]] = []
    verdicts = [False] * len(losses)
    for index in sorted(range(len(losses)), key=lambda index: tuple(losses[index])):
        # A point can only be dominated by one that sorts before it, and so by one that is kept.
        verdicts[index] = not any(_dominates(other, losses[index]) for other in kept)
        if verdicts[index]:
            kept.append(losses[index])
    return verdicts


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
