"""The logbook: tells the dashboard and the loggers what happens in a search."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nas.experiment import Experiment
from nas.results.loggers import Logger
from nas.results.notes import Notes
from nas.search.executors import Completed, Failed, Progress, Report
from nas.search.study import Study


class Logbook:
    """Passes on what an executor reports.

    Args:
        study: The study.
        loggers: Who is told, beside the dashboard.
        experiment: What is searched.
    """

    def __init__(self, study: Study, loggers: Sequence[Logger], experiment: Experiment) -> None:
        self.study = study
        self.loggers = list(loggers)
        self.notes = Notes(study.stored, study.annotate, study.trial_id)
        self._tell("begin", study.run, experiment)

    def observe(self, report: Report | None) -> None:
        """Take note of what has happened."""
        match report:
            case Progress(number, metrics):
                self._tell("epoch", self.study.records[number], metrics)
            case Completed(number) | Failed(number) if self.study.records[number].finished:
                self._ended(number)
        self._note(lambda: self.notes.refresh(self.study.history))

    def _ended(self, number: int) -> None:
        record = self.study.records[number]
        self._note(lambda: self.notes.ended(record, self.study.history))
        self._tell("ended", record)

    def close(self) -> None:
        """Leave everything as it stands at the end."""
        self._note(lambda: self.notes.draw(self.study.history))
        self._tell("close")

    def _note(self, write: Callable[[], None]) -> None:
        """Write to the storage, which may be out of reach for a while."""
        self.study.claims.patiently(write)

    def _tell(self, what: str, *details: Any) -> None:
        """Tell every logger; one that fails is heard of, and told no more: the search goes on."""
        for logger in list(self.loggers):
            try:
                getattr(logger, what)(*details)
            except Exception as error:
                self.loggers.remove(logger)
                print(f"warning: {type(logger).__name__} is told no more: {error}", file=sys.stderr)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
