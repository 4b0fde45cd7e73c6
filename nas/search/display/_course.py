"""The figures of a search under way."""

import time
from collections import Counter

from nas.results.progress import Scale
from nas.results.records import RUNNING, History, Record
from nas.search.executors import Completed, Failed, Progress, Report
from nas.search.study import Study


class Course:
    """How far a study has come, and how fast.

    Args:
        study: The study.
        trials: Number of trials that it shall have.
    """

    def __init__(self, study: Study, trials: int) -> None:
        self.study = study
        self.trials = trials
        self._epochs: dict[int, int] = {}
        self._started = time.monotonic()
        self._done_before = self.done

    def take(self, report: Report | None) -> None:
        """Take note of what has happened."""
        match report:
            case Progress(number, metrics):
                self._epochs[number] = int(metrics["epoch"])
            case Completed(number) | Failed(number):
                self._epochs.pop(number, None)

    @property
    def history(self) -> History:
        """All trials so far."""
        return self.study.history

    @property
    def done(self) -> int:
        """Trials that have ended and that count."""
        return sum(record.finished and record.counts for record in self.study.records)

    @property
    def seconds_per_trial(self) -> float | None:
        """Since this session began; None before its first trial has ended."""
        fresh = self.done - self._done_before
        return (time.monotonic() - self._started) / fresh if fresh else None

    @property
    def seconds_left(self) -> float | None:
        """If the trials to come take as long as those of this session; None while nothing is known."""
        pace = self.seconds_per_trial
        return None if pace is None else pace * max(0, self.trials - self.done)

    @property
    def states(self) -> Counter[str]:
        """Number of trials by state."""
        return Counter(record.state for record in self.study.records)

    @property
    def running(self) -> list[tuple[int, int]]:
        """Trials that run, with the epochs that they have finished."""
        records = [record for record in self.study.records if record.state == RUNNING]
        return [(record.number, self._epochs.get(record.number, 0)) for record in records]

    @property
    def hypervolume(self) -> float | None:
        """Share of the space between the best and the worst values so far; None without a complete trial.

        The scale is that of the moment: it says how far the front has come, not how it compares with that
        of another run.
        """
        history = self.history
        if not history.candidates:
            return None
        scale = Scale.of([history])
        return scale.volume([scale(member.values) for member in history.front()])

    def ended(self, report: Report | None) -> Record | None:
        """The trial that a report has ended; None where it goes on, or is tried again."""
        if not isinstance(report, Completed | Failed):
            return None
        record = self.study.records[report.number]
        return record if record.finished else None
