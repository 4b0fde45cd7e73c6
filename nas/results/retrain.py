"""Retraining: networks from scratch over several seeds, measured on the test split."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Dataset, JoinedSplit, load_dataset
from nas.errors import TrialError
from nas.evaluation import Evaluator
from nas.experiment import Experiment
from nas.modality import Preprocessing
from nas.network import Network
from nas.registry import require_plugins
from nas.results import robustness
from nas.results.exported import Description, to_safetensors
from nas.results.retrained import Retrained, Training, read, seed_of
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.subjects import Subject
from nas.space import Architecture

MOST_MODALITIES = 6  # of which every subset is tried


@dataclass(frozen=True)
class Recipe:
    """How networks are trained again.

    Args:
        seeds: Number of trainings of each.
        epochs: Epochs of each; those of the architecture or the experiment for None.
        on_validation: Train on the validation split too; then nothing is measured on it.
        compiles: Compile networks for their training; nothing else changes.
    """

    seeds: int = 3
    epochs: int | None = None
    on_validation: bool = False
    compiles: bool = False


class Trainer:
    """Trains networks of one experiment from scratch; loads its data once.

    Args:
        experiment: The experiment.
        on_validation: Train on the validation split too.
        dataset: Its dataset; loaded for None.
        compiles: Compile networks for their training.
    """

    def __init__(
        self,
        experiment: Experiment,
        on_validation: bool = False,
        dataset: Dataset | None = None,
        compiles: bool = False,
    ) -> None:
        require_plugins(experiment.plugins)
        self.plugins = tuple(experiment.plugins)
        [(name, options)] = experiment.data.items()
        self.dataset = dataset or load_dataset(name, **options)
        self.preprocessing = Preprocessing.of(name, self.dataset)
        self.on_validation = on_validation
        settings = experiment.training.model_copy(update={"identifiability": False})  # a search has told
        names = list(experiment.objectives)
        self.evaluator = Evaluator(self.dataset, names, settings, device=_device(), compiles=compiles)
        if on_validation:
            splits = self.evaluator.splits
            splits["train"] = JoinedSplit((splits["train"], splits["validation"]))

    def __call__(self, architecture: Architecture, seed: int, understand: bool = False) -> Training:
        """Train once.

        Args:
            architecture: What to train.
            seed: Seed of everything random.
            understand: Find out what the network rests on, too.

        Raises:
            TrialError: The training fails, or an objective is no finite number on the test split.
        """
        evaluation = self.evaluator(architecture, seed)
        network = evaluation.network
        test = {**evaluation.values, **self.evaluator.score(network, self.dataset.splits["test"])}
        validation = None if self.on_validation else dict(evaluation.values)
        understanding = self._understood(network, seed) if understand else None
        data = (self.dataset.modalities, self.dataset.task, self.plugins, self.preprocessing)
        description = Description(architecture, *data)
        return Training(seed, test, validation, understanding, to_safetensors(network, description))

    def _understood(self, network: Network, seed: int) -> dict[str, Any]:
        """What a network rests on, by the first objective that a training changes; or why nobody knows."""
        objectives = self.evaluator.objectives.items()
        name = next((name for name, objective in objectives if not objective.cheap), None)
        if name is None:
            return {"failure": "no objective of the search depends on what the network says"}
        if len(network.encoders) > MOST_MODALITIES:
            return {"failure": f"of more than {MOST_MODALITIES} modalities there are too many subsets"}
        split = self.dataset.splits["test"]

        def score(outputs: Tensor, labels: Tensor) -> float:
            return self.evaluator.measure(network, outputs, labels, split)[name]

        try:
            return robustness.understand(network, split, score, name, seed)
        except Exception as error:  # whatever a component raises at an unusual call: the training is kept
            return {"failure": f"{type(error).__name__}: {error}"}


def retrain(
    run: RunDirectory,
    subjects: Sequence[Subject],
    recipe: Recipe,
    workers: int = 1,
    observe: Callable[[Subject, Training], None] = lambda subject, training: None,
    failed: Callable[[Subject, TrialError], None] | None = None,
) -> list[Retrained]:
    """Train networks of a run from scratch, and keep what each training gave as soon as it is known.

    Trainings that an earlier call has kept are not repeated.

    Args:
        run: The run whose data, objectives and settings count.
        subjects: What to train.
        recipe: How.
        workers: Processes; 1 trains in this one.
        observe: Called after every training.
        failed: Called when a training fails, which then leaves its network out; None raises.

    Returns:
        What has been trained, in the order of `subjects`.

    Raises:
        TrialError: A training fails, and `failed` is None.
    """
    experiment = run.experiment()
    found = {subject: _stored(run, subject, recipe) for subject in subjects}
    jobs = [
        (subject, seed)
        for subject in subjects
        for index, seed in enumerate(_seeds(experiment, subject, recipe.seeds))
        if seed not in {training.seed for training in found[subject].trainings}
        or not subject.weights(run, index).exists()
    ]
    for subject, outcome in _outcomes(experiment, recipe, jobs, workers):
        if isinstance(outcome, Training):
            index = _seeds(experiment, subject, recipe.seeds).index(outcome.seed)
            found[subject] = _keep(run, found[subject], outcome, index)
            observe(subject, outcome)
        elif failed is not None:
            failed(subject, outcome)
        else:
            raise outcome
    asked = (_asked(result, _seeds(experiment, result.subject, recipe.seeds)) for result in found.values())
    return [result for result in asked if result.trainings]


def with_epochs(architecture: Architecture, epochs: int | None) -> Architecture:
    """The same network, trained for so many epochs whatever the architecture or the experiment say."""
    if epochs is None:
        return architecture
    tree = architecture.to_data()
    return Architecture(tree | {"training": tree.get("training", {}) | {"epochs": epochs}})


def _seeds(experiment: Experiment, subject: Subject, count: int) -> list[int]:
    return [seed_of(experiment, subject, index) for index in range(count)]


def _asked(result: Retrained, seeds: Sequence[int]) -> Retrained:
    """The trainings of these seeds alone, in their order."""
    by_seed = {training.seed: training for training in result.trainings}
    return replace(result, trainings=[by_seed[seed] for seed in seeds if seed in by_seed])


def _stored(run: RunDirectory, subject: Subject, recipe: Recipe) -> Retrained:
    """What earlier calls have kept of a network; nothing where it was trained otherwise."""
    own = subject.architecture.get("training", {})
    epochs = recipe.epochs or own.get("epochs", run.experiment().training.epochs)
    nothing = Retrained(subject, epochs, recipe.on_validation)
    kept = read(run, subject)
    return kept if kept and replace(kept, trainings=()) == nothing else nothing


def _keep(run: RunDirectory, before: Retrained, training: Training, index: int) -> Retrained:
    """Add a training to what is kept of a network; what was trained otherwise goes."""
    others = [one for one in before.trainings if one.seed != training.seed]
    after = replace(before, trainings=[*others, replace(training, model=b"")])
    file = after.subject.file(run)
    for stale in [] if before.trainings else file.parent.glob("retrained*"):
        stale.unlink()
    write_atomically(after.subject.weights(run, index), training.model)
    write_atomically(file, json.dumps(after.to_data(), indent=1))
    if training.understanding:
        write_atomically(file.with_name("understanding.json"), json.dumps(training.understanding, indent=1))
    return after


def _outcomes(
    experiment: Experiment, recipe: Recipe, jobs: Sequence[tuple[Subject, int]], workers: int
) -> Iterator[tuple[Subject, Training | TrialError]]:
    """What becomes of every job, a network and a seed, as soon as it is known."""
    if not jobs:
        return
    tasks = {
        (subject, seed): (
            with_epochs(subject.architecture, recipe.epochs),
            seed,
            subject.trial is not None and seed == _seeds(experiment, subject, 1)[0],
        )
        for subject, seed in jobs
    }
    if workers == 1:
        trainer = Trainer(experiment, recipe.on_validation, compiles=recipe.compiles)
        for (subject, _), task in tasks.items():
            yield subject, _outcome(trainer, *task)
        return
    prepared = (experiment, recipe, max(1, len(os.sched_getaffinity(0)) // workers))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _prepare, prepared) as pool, _ended(pool):
        futures = {pool.submit(_train_here, *task): subject for (subject, _), task in tasks.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _outcome(
    trainer: Trainer, architecture: Architecture, seed: int, understand: bool
) -> Training | TrialError:
    try:
        return trainer(architecture, seed, understand)
    except TrialError as error:
        return error


_trainer: Trainer


def _prepare(experiment: Experiment, recipe: Recipe, threads: int) -> None:
    """Make a process of the pool ready: it dies at a Ctrl-C, and loads the data once."""
    global _trainer
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(threads)
    _trainer = Trainer(experiment, recipe.on_validation, compiles=recipe.compiles)


def _train_here(architecture: Architecture, seed: int, understand: bool) -> Training | TrialError:
    return _outcome(_trainer, architecture, seed, understand)


@contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Leave no process behind that trains what nobody waits for any more."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
