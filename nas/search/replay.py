"""Replay: ask again for every trial of a run, given what was known when it was asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

from nas.results.records import ENDS, TUNED, History
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.proposals import Proposals, unfinished
from nas.space import Architecture


@dataclass(frozen=True)
class Replayed:
    """A trial, and what is proposed in its place.

    Args:
        number: Number of the trial.
        recorded: What it was.
        proposed: What is proposed now; None where nothing is left.
    """

    number: int
    recorded: Architecture
    proposed: Architecture | None


def replay(run: RunDirectory, proposals: Proposals) -> Iterator[Replayed]:
    """Go through `events.jsonl` and propose again whenever a trial was asked for.

    Args:
        run: The run.
        proposals: What proposed it, made anew.

    Raises:
        RequestError: There is no run in the directory.
    """
    history = read_history(run)
    finished: set[int] = set()
    for event in run.events():
        if "trial" not in event:
            continue
        number = event["trial"]
        if event["event"] in ENDS.values():
            finished.add(number)
        elif event["event"] == "asked":
            before = history.records[:number]
            known = [record if record.number in finished else unfinished(record) for record in before]
            propose = proposals.last if history.records[number].origin.operator == TUNED else proposals.next
            proposal = propose(History(known, history.objectives, history.constraints))
            yield Replayed(
                number, history.records[number].architecture, proposal.architecture if proposal else None
            )
