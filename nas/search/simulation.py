"""Searches on a table instead of on a machine: the clock is simulated, all else is the search's own."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.bench.table import SmallWorldBench
from nas.checks import check_positive
from nas.experiment import Direction
from nas.results.records import COMPLETE, PRUNED, RUNNING, History, Record
from nas.search.proposals import Proposals
from nas.search.pruning import stops
from nas.seeds import derive

OBJECTIVES: dict[str, Direction] = {"accuracy": "maximize", "parameters": "minimize"}


@dataclass(frozen=True)
class Simulated:
    """A search that never ran.

    Args:
        history: Its trials.
        coverage: Share of the table's hypervolume after every finished trial.
        epochs: Epochs trained by then.
        seconds: Time on the simulated clock by then.
    """

    history: History
    coverage: Sequence[float]
    epochs: Sequence[int]
    seconds: Sequence[float]


def simulate(
    bench: SmallWorldBench,
    sampler: Any,
    pruner: Any = None,
    *,
    trials: int = 200,
    workers: int = 1,
    seed: int = 0,
    seeds: int = 1,
    racing: float = 0.0,
) -> Simulated:
    """Search the table with a sampler and a pruner, as the study would.

    Args:
        bench: The table.
        sampler: A sampler, as `nas.create("sampler", name)`.
        pruner: A pruner; None for none.
        trials: Number of trials.
        workers: Simulated workers; each takes a trial as long as its training took when it was made.
        seed: Seed of the study.
        seeds: As `search.seeds` of an experiment.
        racing: As `search.racing` of an experiment.

    Raises:
        ValueError: There is no trial, or no worker.

    >>> from nas.registry import create
    >>> found = simulate(SmallWorldBench.load(), create("sampler", "random"), trials=20)
    >>> len(found.history.records)
    20
    """
    check_positive("trials", trials)
    check_positive("workers", workers)
    proposals = Proposals(bench.space, sampler, seed, seeds=seeds, racing=racing, exact=bench.known)
    return _Clock(bench, proposals, pruner, trials).run(workers)


class _Clock:
    """The next epoch to end, whichever worker trains it."""

    def __init__(self, bench: SmallWorldBench, proposals: Proposals, pruner: Any, trials: int) -> None:
        self.bench = bench
        self.proposals = proposals
        self.pruner = pruner
        self.trials = trials
        self.records: list[Record] = []
        self.told = 0
        self.trained = 0
        self.log: list[tuple[float, int, float]] = []
        self.due: list[tuple[float, int]] = []

    def run(self, workers: int) -> Simulated:
        for _ in range(workers):
            self._start(0.0)
        while self.due:
            now, number = heapq.heappop(self.due)
            if self._epoch(number):
                heapq.heappush(self.due, (now + self._pace(number), number))
                continue
            self.log.append((self._coverage(), self.trained, now))
            self._start(now)
        coverage, epochs, seconds = zip(*self.log, strict=True)
        return Simulated(self._history(), coverage, epochs, seconds)

    def _start(self, now: float) -> None:
        if len(self.records) == self.trials or (proposal := self.proposals.next(self._history())) is None:
            return
        number = len(self.records)
        record = Record(
            number,
            derive(self.proposals.seed, number, "trial"),
            proposal.architecture,
            RUNNING,
            self.told,
            proposal.origin,
            self.bench.known(proposal.architecture),
        )
        self.records.append(record)
        heapq.heappush(self.due, (now + self._pace(number), number))

    def _epoch(self, number: int) -> bool:
        """Train a trial for one epoch; whether it goes on."""
        record = self.records[number]
        curve = self.bench.accuracy[self._place(number)]
        reached = len(record.metrics)
        record = replace(record, metrics=(*record.metrics, {"accuracy": float(curve[reached])}))
        self.records[number] = record
        self.trained += 1
        if len(record.metrics) == len(curve):
            values = {"accuracy": float(curve[-1]), **record.cheap}
            self._end(replace(record, state=COMPLETE, values=values))
        elif self.pruner is not None and stops(self.pruner, record, self._history()):
            self._end(replace(record, state=PRUNED, failure=("pruned", f"after epoch {reached + 1}")))
        return not self.records[number].finished

    def _end(self, record: Record) -> None:
        self.records[record.number] = replace(record, told=self.told)
        self.told += 1

    def _place(self, number: int) -> tuple[int, int]:
        """Row and seed of the training that a trial repeats; replicates take the seeds in turn."""
        architecture = self.records[number].architecture
        first = next(record for record in self.records if record.architecture == architecture)
        earlier = sum(record.architecture == architecture for record in self.records[:number])
        return self.bench.index[architecture], (first.seed + earlier) % self.bench.seeds

    def _pace(self, number: int) -> float:
        return float(self.bench.seconds[self._place(number)]) / self.bench.epochs

    def _coverage(self) -> float:
        return self.bench.coverage(member.architecture for member in self._history().front())

    def _history(self) -> History:
        return History(tuple(self.records), OBJECTIVES)
