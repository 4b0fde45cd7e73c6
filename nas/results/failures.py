"""Which components fail again and again, and what it was where nothing was done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nas.results.records import COMPLETE, FAILED, FINISHED, PRUNED, History
from nas.results.selections import selections

LEAST = 3


@dataclass(frozen=True)
class Poisoned:
    """A component of which over half of the trials have failed.

    Args:
        slot: Where it stands in the architecture, as a path of keys.
        component: Its name.
        failed: How many of its trials have failed.
        trained: How many of its trials were trained at all; those that a constraint rejected were not.
        kinds: How many by the kind of their failure.
    """

    slot: str
    component: str
    failed: int
    trained: int
    kinds: Mapping[str, int]

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.kinds.items())
        return f"{self.failed} of {self.trained} trials with {self.slot} = {self.component} failed ({kinds})"


def poisoned(history: History) -> list[Poisoned]:
    """Components of which over half of the trials fail, at least three of them.

    A component that every trial has is no region: it cannot be told from all the others.

    Args:
        history: The trials.
    """
    ends = [record for record in history.records if record.state in {COMPLETE, PRUNED, FAILED}]
    trained: Counter[tuple[str, str]] = Counter()
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for record in ends:
        for selection in set(selections(record.architecture)):
            trained[selection] += 1
            if record.state == FAILED and record.failure:
                kinds.setdefault(selection, Counter())[record.failure[0]] += 1
    found = [
        Poisoned(*which, counts.total(), trained[which], dict(counts)) for which, counts in kinds.items()
    ]
    found = [region for region in found if region.trained < len(ends)]
    return [region for region in found if region.failed >= LEAST and region.trained / 2 < region.failed]


def no_result(history: History) -> str | None:
    """Why a search has no complete trial: how its trials have ended, and the last of them; None if it has.

    Args:
        history: The trials.
    """
    ends = [record for record in history.records if record.state in FINISHED]
    if any(record.state == COMPLETE for record in ends):
        return None
    if not ends:
        return "no trial is complete: none has ended"
    counts = ", ".join(f"{count} {state}" for state, count in Counter(one.state for one in ends).items())
    last = max(ends, key=lambda record: record.number)
    reason = f" ({last.failure[0]}): {last.failure[1]}" if last.failure else ""
    return f"no trial is complete: {counts}; the last, trial {last.number}, {last.state}{reason}"
