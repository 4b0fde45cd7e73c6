"""Executors: where trials run.

An executor takes groups of jobs while it has room and reports what happens to each job; it knows
nothing of the study. Reports are plain values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from nas.errors import TrialError
from nas.experiment import Experiment
from nas.space import Architecture

__all__ = [
    "CHECKPOINT",
    "METRICS",
    "Completed",
    "Executor",
    "Failed",
    "Job",
    "Measured",
    "Progress",
    "Report",
    "open_executor",
]

METRICS = "metrics.jsonl"  # of the epochs of a trial, in its folder
CHECKPOINT = ".checkpoint.pt"  # the state of a trial that is not over, in its folder


@dataclass(frozen=True)
class Job:
    """One trial to run.

    Args:
        number: Number of the trial.
        seed: Seed of everything random in it.
        architecture: What to evaluate.
        folder: Where the worker leaves metrics and weights.
        ancestor: Folder of the trial from whose weights the training starts; None: from scratch.
        alone: Whether nothing else may run on its device meanwhile.
        fold: Which fold of the samples to measure on.
    """

    number: int
    seed: int
    architecture: Architecture
    folder: Path
    ancestor: Path | None = None
    alone: bool = False
    fold: int = 0


@dataclass(frozen=True)
class Measured:
    """A trial's network is built; what is known of it before the training."""

    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Progress:
    """A trial has finished an epoch.

    Args:
        number: Number of the trial.
        metrics: Its metrics; numbers alone.
        waits: Whether the trial waits for `Executor.answer`, as it does unless this was its last epoch.
    """

    number: int
    metrics: Mapping[str, float]
    waits: bool = True


@dataclass(frozen=True)
class Completed:
    """A trial has its final values.

    Args:
        number: Number of the trial.
        values: Final objectives and logged measures by name.
        seconds: Time of the evaluation.
        wiring: Measures of the sparse layers; see `nas.evaluation.Evaluation.wiring`.
    """

    number: int
    values: Mapping[str, float]
    seconds: float
    wiring: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A trial ended without a result."""

    number: int
    error: TrialError
    seconds: float


Report: TypeAlias = Measured | Progress | Completed | Failed


class Executor(Protocol):
    """What the search asks of an executor.

    `notice` is what a person is to know of it while the search runs; None for nothing.
    """

    notice: str | None

    @property
    def room(self) -> int:
        """How many groups it takes now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start a group of jobs, which run in one place; only while there is room.

        A job alone is a group of one. Each job reports on its own, whether they train together or one
        after another.
        """
        ...

    def wait(self, seconds: float) -> list[Report]:
        """What has happened, waiting for at most so long until something has."""
        ...

    def answer(self, number: int, stop: bool) -> None:
        """Let a trial that has reported progress go on, or end as pruned."""
        ...

    def close(self) -> None:
        """Stop everything; running jobs are lost."""
        ...


def open_executor(experiment: Experiment, dataset: Any, folder: Path) -> Executor:
    """The executor that an experiment asks for.

    Args:
        experiment: The experiment.
        dataset: Its dataset, for executors that send it to where trials run.
        folder: The run directory, for what the executor itself leaves behind.
    """
    if experiment.execution.backend == "ray":
        from nas.search.executors.ray import RayExecutor

        return RayExecutor(experiment, dataset, folder / "tune")
    from nas.search.executors.local import LocalExecutor, shares

    execution = experiment.execution
    parts = shares(execution.workers, execution.workers_per_gpu, execution.devices)
    log = folder / "workers.log"
    return LocalExecutor(experiment.to_data(), parts, log, execution.time_limit, execution.memory_limit)
