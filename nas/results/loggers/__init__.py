"""Loggers: what is told of a search while it goes on, so that other tools can show it.

A logger is a component: it is named in an experiment under `results: {loggers: [...]}`, and a finished
run is handed to it by `nas.report`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from nas.errors import RequestError
from nas.experiment import Experiment
from nas.results.progress import finished
from nas.results.records import History, Record
from nas.results.run_directory import RunDirectory

__all__ = ["Logger", "missing", "replay"]


class Logger(Protocol):
    """What is told of a search, in the process that drives it."""

    def begin(self, run: RunDirectory, experiment: Experiment) -> None:
        """A search begins, or is resumed."""
        ...

    def epoch(self, record: Record, metrics: Mapping[str, Any]) -> None:
        """A trial has finished an epoch."""
        ...

    def ended(self, record: Record) -> None:
        """A trial has ended, complete or not."""
        ...

    def close(self) -> None:
        """The search ends, or pauses."""
        ...


def replay(logger: Logger, run: RunDirectory, history: History) -> None:
    """Tell a logger of a search that is over, as if it went on."""
    logger.begin(run, run.experiment())
    for record in finished(history):
        for metrics in run.metrics(record.number):
            logger.epoch(record, metrics)
        logger.ended(record)
    logger.close()


def missing(package: str, extra: str) -> RequestError:
    """The error of a logger whose package is not installed."""
    return RequestError(f"{package} is not installed; pip install 'small-world-nas[{extra}]'")
