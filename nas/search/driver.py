"""The driver: asks the study, hands jobs to the executor, tells the study what came of them."""

import errno
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from nas.errors import RequestError, TrialError
from nas.experiment import Stop
from nas.results.pace import Pace
from nas.results.records import RUNNING, TUNED, Record
from nas.results.run_directory import RunDirectory
from nas.search.executors import CHECKPOINT, Completed, Executor, Failed, Job, Measured, Progress, Report
from nas.search.groups import shape_class
from nas.search.pruning import stops
from nas.search.stopping import reason_to_stop
from nas.search.study import Study

POLL_SECONDS = 0.25
TABLES_EVERY_SECONDS = 2.0
EXHAUSTED = "every network of the space has had its trials"
NO_RETRIES: Mapping[str, int] = MappingProxyType({})
NO_STOP = Stop()
# Of a group, these say nothing about the single trial: it runs again, and that costs it no retry.
SHARED_FAILURES = {"lost_worker", "time_limit", "out_of_memory"}


def drive(
    study: Study,
    executor: Executor,
    pruner: Any,
    run: RunDirectory,
    trials: int,
    observe: Callable[[Report | None], None],
    interrupted: Callable[[], bool],
    retries: Mapping[str, int] = NO_RETRIES,
    stop: Stop = NO_STOP,
) -> str | None:
    """Run a study until it has its trials or is interrupted; why it ended before that, if it did.

    However it ends, no trial is left running: those that had not finished are put back.

    Args:
        study: The study; trials that it has left unfinished run first.
        executor: Where trials run.
        pruner: Stops trials early.
        run: Where results are kept.
        trials: Number of trials that the study shall have, beside those that a constraint rejects.
        observe: Called with every report, and with None when nothing has happened for a while.
        interrupted: Asked all the time; once it is true, running trials are put back.
        retries: How many times a trial is run again, by the kind of its failure.
        stop: What ends the search before it has its trials.
    """
    session = _Session(study, executor, pruner, run, trials, retries, stop)
    tables = Pace(TABLES_EVERY_SECONDS)
    try:
        while not interrupted() and session.fill():
            reports = executor.wait(POLL_SECONDS)
            study.keep_up()
            for report in reports:
                session.take(report)
                observe(report)
            if not reports:
                observe(None)
            if tables.due:
                with tables.timed():
                    run.write_tables(study.history)
                    study.secure()
    finally:
        session.end()
    return session.reason


class _Session:
    """What the driver keeps in mind; see `drive` for the arguments.

    `reason` says why no more trials are asked for, once that is so before the study has them all.
    """

    def __init__(
        self,
        study: Study,
        executor: Executor,
        pruner: Any,
        run: RunDirectory,
        trials: int,
        retries: Mapping[str, int],
        stop: Stop,
    ) -> None:
        self.study = study
        self.executor = executor
        self.pruner = pruner
        self.run = run
        self.trials = trials
        self.retries = retries
        self.stop = stop
        self.started = time.monotonic()
        self.reason: str | None = None
        self._retried: dict[tuple[int, ...], list[Record]] = {}
        self._failures: dict[int, Counter[str]] = {}
        self._alone: set[int] = set()
        self._failed_attempts: Counter[int] = Counter()
        self._running: set[int] = set()
        self._together: dict[int, tuple[int, ...]] = {}
        self._kept = keep_front_weights(study, run)

    def fill(self) -> bool:
        """Start trials while there is room for them; whether any is running, here or at another driver."""
        while self.executor.room and (records := self._next_group()):
            numbers = tuple(record.number for record in records)
            self._running |= set(numbers)
            self._together |= dict.fromkeys(numbers, numbers)
            self.executor.submit([self._job(record) for record in records])
        return bool(self.study.unfinished())

    def _next_group(self) -> list[Record]:
        """The next trials to start in one place, of one shape; none where there are none."""
        if self._retried:
            return self._retried.pop(next(iter(self._retried)))
        group: list[Record] = []
        while len(group) < self.study.proposals.groups.size:
            record = self._next(group)
            if record is None:
                break
            group.append(record)
        return group

    def _job(self, record: Record) -> Job:
        parent = record.origin.inherits
        ancestor = None if parent is None else self.run.trial(parent)
        folder, alone = self.run.trial(record.number), record.number in self._alone
        return Job(record.number, record.seed, record.architecture, folder, ancestor, alone, record.fold)

    def _next(self, group: list[Record]) -> Record | None:
        """The next trial that may join a group: what was left over, then what is new; None for none."""
        for left in self.study.left_over():
            if not self._alike(group, left):
                return None
            if again := self.study.restart(left):
                return again
        if self.reason or self._enough():
            return None if group else self._last()
        if group and not self.study.proposals.joins(self.study.history):
            return None
        reason = reason_to_stop(self.stop, self.study.history, time.monotonic() - self.started)
        record = None if reason else self.study.ask(self._enough)
        if record is None and not self._enough():
            self.reason = reason or EXHAUSTED
            self.run.append_event("stopped", reason=self.reason)
        return record or (None if group else self._last())

    def _last(self) -> Record | None:
        """One of the trials that end a search, once all that it has searched with are done."""
        if any(record.origin.operator != TUNED for record in self.study.unfinished()):
            return None
        return self.study.ask(last=True)

    def _enough(self) -> bool:
        return self.study.budgeted >= self.trials

    def _alike(self, group: list[Record], record: Record) -> bool:
        """Whether a trial has the shape of those in a group, in which they may train together."""
        if not group:
            return True
        proposals = self.study.proposals
        one, other = (shape_class(proposals.space, r.architecture) for r in (group[0], record))
        return one == other and proposals.groups.suit(proposals.space, record.architecture)

    def take(self, report: Report) -> None:
        """Do what a report asks for."""
        match report:
            case Completed(number, values, seconds, wiring):
                self.study.tell(number, values, seconds, wiring)
                self._running.discard(number)
                self._kept = keep_front_weights(self.study, self.run, self._kept | {number})
            case Failed(_, error) if error.kind == "disk_full":
                raise OSError(errno.ENOSPC, error.message)
            case Failed(number, error, seconds):
                self._running.discard(number)
                self._retry_or_fail(number, error, seconds)
            case Measured(number, values):
                self.study.measure(number, values)
            case Progress(number, metrics, waits):
                self.study.progress(number, metrics)
                if waits:
                    record = self.study.records[number]
                    self.executor.answer(number, stops(self.pruner, record, self.study.history))

    def _retry_or_fail(self, number: int, error: TrialError, seconds: float) -> None:
        failures = self._failures.setdefault(number, Counter())
        if error.kind == "out_of_memory":
            self._alone.add(number)  # it may have been short of what others had
        together = self._together.pop(number)
        shared = len(together) > 1 and error.kind in SHARED_FAILURES
        failures[error.kind] += not shared
        if failures[error.kind] > self.retries.get(error.kind, 0):
            self.study.fail(number, error, seconds)
            (self.run.trial(number) / CHECKPOINT).unlink(missing_ok=True)
        else:
            self._failed_attempts[number] += 1
            failed = self._failed_attempts[number]
            # A group that lost its worker is tried once more together, and then one by one.
            again = together if error.kind == "lost_worker" and failed == 1 else (number,)
            self._retried.setdefault(again, []).append(self.study.retry(number, error, failed + 1))

    def end(self) -> None:
        """Stop the executor and leave the run as it is resumed."""
        try:
            self.executor.close()
        finally:
            with suppress(RequestError):  # out of reach: the leases of the trials will end
                for record in self.study.unfinished():
                    if record.state == RUNNING:
                        self.study.release(record.number)
            keep_front_weights(
                self.study, self.run
            )  # a worker may have written its own after its last report
            self.run.write_tables(self.study.history)


def keep_front_weights(study: Study, run: RunDirectory, among: Collection[int] | None = None) -> set[int]:
    """Only members of the front keep their weights; what is running may yet become one, or start from one.

    Args:
        study: The study.
        run: Its run.
        among: Numbers of the trials that may have weights to remove; None for all, which takes a look
            into every trial's folder.

    Returns:
        The numbers of the trials that may have weights.
    """
    kept = {candidate.number for candidate in study.history.front()}
    unfinished = study.unfinished()
    kept |= {record.number for record in unfinished if record.state == RUNNING}
    kept |= {record.origin.inherits for record in unfinished if record.origin.inherits is not None}
    if among is None:
        among = [int(file.parent.name) for file in (run.path / "trials").glob("*/weights.safetensors")]
    for number in set(among) - kept:
        run.weights(number).unlink(missing_ok=True)
    return kept
