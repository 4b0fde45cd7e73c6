"""Retraining: a trial's architecture from scratch over several seeds, measured on the test split."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from nas.datasets import Dataset, load_dataset
from nas.errors import RequestError
from nas.evaluation import Evaluator
from nas.experiment import Experiment
from nas.registry import require_plugins
from nas.results.records import Record
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import read_history
from nas.seeds import derive
from nas.space import Architecture
from nas.training import predict


@dataclass(frozen=True)
class Retrained:
    """Objectives of several trainings of one architecture.

    Args:
        seeds: Seed of each training.
        test: Objectives on the test split, one mapping per seed.
        validation: The same on the validation split.
    """

    seeds: Sequence[int]
    test: Sequence[Mapping[str, float]]
    validation: Sequence[Mapping[str, float]]

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and sample standard deviation of every objective on the test split."""
        return {name: spread([values[name] for values in self.test]) for name in self.test[0]}


def retrain_trial(
    run: RunDirectory,
    number: int,
    seeds: int,
    epochs: int | None = None,
    observe: Callable[[int, Mapping[str, float]], None] = lambda index, test: None,
) -> Retrained:
    """Retrain one trial of a run and write `retrained.json` beside it.

    Args:
        run: The run.
        number: Number of the trial.
        seeds: Number of trainings.
        epochs: Epochs of each; those of the architecture or the experiment for None.
        observe: Called after every training with its index and its objectives on the test split.

    Raises:
        RequestError: There is no such run or trial.
        TrialError: A training fails.
    """
    experiment = run.experiment()
    record = find_record(run, number)
    require_plugins(experiment.plugins)
    [(name, options)] = experiment.data.items()
    own = [derive(experiment.search.seed, number, "retrain", index) for index in range(seeds)]
    dataset = load_dataset(name, **options)
    architecture = record.architecture if epochs is None else with_epochs(record.architecture, epochs)
    retrained = retrain(experiment, dataset, architecture, own, observe)
    data = {
        "epochs": architecture.get("training", {}).get("epochs", experiment.training.epochs),
        "seeds": own,
        "test": retrained.test,
        "validation": retrained.validation,
        "summary": {name: {"mean": m, "std": s} for name, (m, s) in retrained.summary().items()},
    }
    write_atomically(run.trial(number) / "retrained.json", json.dumps(data, indent=1))
    return retrained


def retrain(
    experiment: Experiment,
    dataset: Dataset,
    architecture: Architecture,
    seeds: Sequence[int],
    observe: Callable[[int, Mapping[str, float]], None] = lambda index, test: None,
) -> Retrained:
    """Train an architecture from scratch once per seed, and measure each on the test split.

    Raises:
        TrialError: A training fails.
    """
    training = experiment.training.model_copy(update={"identifiability": False})  # a search has told
    evaluator = Evaluator(dataset, list(experiment.objectives), training, device=_device())
    test, validation = [], []
    for index, seed in enumerate(seeds):
        evaluation = evaluator(architecture, seed)
        measured = evaluator.measure(evaluation.network)
        measured |= evaluator.measure(
            evaluation.network, *predict(evaluation.network, dataset.splits["test"])
        )
        test.append(measured)
        validation.append(dict(evaluation.values))
        observe(index, measured)
    return Retrained(seeds, test, validation)


def with_epochs(architecture: Architecture, epochs: int) -> Architecture:
    """The same network, trained for so many epochs whatever the architecture or the experiment say."""
    tree = architecture.to_data()
    return Architecture(tree | {"training": tree.get("training", {}) | {"epochs": epochs}})


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is 0 for one value."""
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def find_record(run: RunDirectory, number: int) -> Record:
    """The record of a trial.

    Raises:
        RequestError: There is no run, or no trial of that number.
    """
    records = read_history(run).records
    if not records:
        raise RequestError(f"{run.path} has no trials yet; start the search first")
    if number >= len(records):
        raise RequestError(f"{run.path} has no trial {number}; its trials are 0 to {len(records) - 1}")
    return records[number]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
