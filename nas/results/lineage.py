"""What weight inheritance does to the objectives: children that inherit beside those that do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from nas.results.records import COMPLETE, TUNED, History, Record


@dataclass(frozen=True)
class Gains:
    """How much better than their parents children of front members were in the first objective.

    Args:
        objective: Its name.
        inherited: Gains of the children that started from their parent's weights.
        control: Gains of those that started from scratch.
    """

    objective: str
    inherited: Sequence[float]
    control: Sequence[float]

    @property
    def bias(self) -> float | None:
        """What inheriting adds to the objective on average; None without children of either kind."""
        if not self.inherited or not self.control:
            return None
        return fmean(self.inherited) - fmean(self.control)

    def __str__(self) -> str:
        parts = [
            f"{len(gains)} children that {how} were better than their parents by {_mean(gains)}"
            for gains, how in (
                (self.inherited, "inherited weights"),
                (self.control, "started from scratch"),
            )
        ]
        text = f"{self.objective}: " + "; ".join(parts)
        if self.bias is None:
            return f"{text}. The bias of inheritance is not known: one of the two groups is empty."
        return f"{text}. Expect a network that inherited to lose about {self.bias:+.4f} from scratch."


def gains(history: History) -> Gains:
    """Compare all complete children with a parent that was on the front when they were asked for.

    Args:
        history: The trials.
    """
    inherited: list[float] = []
    control: list[float] = []
    for record in history.records:
        if (parent := _parent(record, history)) is not None:
            gain = history.losses(parent.values)[0] - history.losses(record.values)[0]
            (control if record.origin.inherits is None else inherited).append(gain)
    return Gains(next(iter(history.objectives)), inherited, control)


def ancestry(history: History) -> dict[int, tuple[int, ...]]:
    """The members of the front and all that they descend from: numbers of the parents by trial.

    Another training of the same network is no descent.
    """
    found: dict[int, tuple[int, ...]] = {}
    waiting = [candidate.number for candidate in history.front()]
    while waiting:
        record = history.records[waiting.pop()]
        if record.number not in found:
            others = (history.records[number] for number in record.origin.parents)
            parents = (other.number for other in others if other.architecture != record.architecture)
            found[record.number] = tuple(dict.fromkeys(parents))
            waiting += found[record.number]
    return dict(sorted(found.items()))


def _parent(child: Record, history: History) -> Record | None:
    """The first parent of a complete child, if it was on the front then; replicates have none."""
    if child.state != COMPLETE or not child.origin.parents or child.origin.operator == TUNED:
        return None
    parent = history.records[child.origin.parents[0]]
    if parent.architecture == child.architecture:
        return None
    before = [r for r in history.records if r.told is not None and r.told < child.asked_after]
    front = History(before, history.objectives).front()
    return parent if parent.number in {member.number for member in front} else None


def _mean(gains: Sequence[float]) -> str:
    if not gains:
        return "nothing"
    error = f" ± {stdev(gains) / sqrt(len(gains)):.4f}" if len(gains) > 1 else ""
    return f"{fmean(gains):+.4f}{error}"
