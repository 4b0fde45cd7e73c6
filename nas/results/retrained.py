"""What retraining has given: kept per network in the run directory, and read back for the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from nas.experiment import Experiment
from nas.results.records import History
from nas.results.run_directory import RunDirectory
from nas.results.subjects import Subject, trials
from nas.seeds import derive
from nas.space import Architecture

FEWEST = 4  # networks from which on a rank correlation says anything at all


@dataclass(frozen=True)
class Training:
    """Objectives of one training: on the test split, and on the validation split unless it was trained on.

    `understanding` is what `nas.results.robustness.understand` found out, where it was asked, or as
    `failure` why it did not. `model` is the trained network as a safetensors file, which is kept beside.
    """

    seed: int
    test: Mapping[str, float]
    validation: Mapping[str, float] | None
    understanding: Mapping[str, Any] | None = None
    model: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Retrained:
    """What the trainings of one network gave.

    Args:
        subject: The network.
        epochs: Epochs of each training.
        on_validation: Whether the validation split was trained on too.
        trainings: One per seed, in the order of the seeds.
    """

    subject: Subject
    epochs: int
    on_validation: bool
    trainings: Sequence[Training] = ()

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and sample standard deviation of every objective on the test split."""
        tests = [training.test for training in self.trainings]
        return {name: spread([test[name] for test in tests]) for name in tests[0]}

    def to_data(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "label": self.subject.label,
            "architecture": self.subject.architecture.to_data(),
            "epochs": self.epochs,
            "on_validation": self.on_validation,
            "seeds": [training.seed for training in self.trainings],
            "test": [dict(training.test) for training in self.trainings],
            "validation": [training.validation for training in self.trainings],
            "summary": {name: {"mean": m, "std": s} for name, (m, s) in self.summary().items()},
        }


@dataclass(frozen=True)
class Agreement:
    """Whether retraining ranks networks as the search did: Spearman's rank correlation.

    Args:
        objective: What is compared: its value in the search, on validation, and its mean on the test split.
        correlation: Between -1 and 1; 1 is the same order.
        probability: Of a correlation at least as far from zero if the orders had nothing in common.
        networks: Number of networks.
    """

    objective: str
    correlation: float
    probability: float
    networks: int

    def __str__(self) -> str:
        verdict = (
            "the front holds" if self.correlation > 0 and self.probability < 0.05 else "no clear agreement"
        )
        return (
            f"{self.objective} in the search against retrained, over {self.networks} networks: "
            f"rank correlation {self.correlation:.2f} (p = {self.probability:.2g}), {verdict}"
        )


def seed_of(experiment: Experiment, subject: Subject, index: int) -> int:
    """Seed of one training of a network; they count from 0."""
    name = subject.architecture.id if subject.trial is None else subject.trial
    return derive(experiment.search.seed, name, "retrain", index)


def read(run: RunDirectory, subject: Subject) -> Retrained | None:
    """What is kept of the trainings of one network; None for nothing."""
    file = subject.file(run)
    if not file.exists():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    if data["architecture"] != subject.architecture.to_data():
        return None
    trainings = zip(data["seeds"], data["test"], data["validation"], strict=True)
    return Retrained(
        subject, data["epochs"], data["on_validation"], tuple(Training(*training) for training in trainings)
    )


def read_all(run: RunDirectory, history: History) -> list[Retrained]:
    """All networks that have been trained again, those of the run's history first."""
    numbers = sorted(int(file.parent.name) for file in run.path.glob("trials/*/retrained.json"))
    others = []
    for file in sorted(run.path.glob("retrained/*/retrained.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        others.append(Subject(data["label"], Architecture(data["architecture"])))
    others.sort(key=lambda subject: subject.label)
    found = (read(run, subject) for subject in [*trials(run, numbers, history), *others])
    return [retrained for retrained in found if retrained]


def agreement(run: RunDirectory, results: Sequence[Retrained]) -> Agreement | None:
    """Compare the first objective of the run's trials in the search and retrained; None for too few."""
    from scipy.stats import spearmanr

    objective = next(iter(run.experiment().objectives))
    pairs = [
        (dict(result.subject.found)[objective], result.summary()[objective][0])
        for result in results
        if dict(result.subject.found).get(objective) is not None
    ]
    if len(pairs) < FEWEST or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return None
    correlation = spearmanr(*zip(*pairs, strict=True))
    return Agreement(objective, float(correlation.statistic), float(correlation.pvalue), len(pairs))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is 0 for one value."""
    return mean(values), stdev(values) if len(values) > 1 else 0.0
