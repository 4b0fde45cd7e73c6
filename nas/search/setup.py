"""From an experiment file to everything that a search needs, checked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError

from nas.datasets import Dataset, Split, load_dataset
from nas.datasets.folds import folds
from nas.documents import Document
from nas.errors import KeyPathError, RequestError, near_misses
from nas.experiment import SETTINGS_OF_TASKS, Execution, Experiment, Training, as_written, load_experiment
from nas.modality import TASKS, Task
from nas.network import build, identity, outline
from nas.objectives import Context, default_objectives
from nas.registry import available, create, get, load_entry_points, load_plugins
from nas.results.loggers import Logger
from nas.search.first_builds import check_encoders
from nas.search.groups import Groups
from nas.search.proposals import Proposals
from nas.space import Architecture, SearchSpace
from nas.space.assemble import assemble, extremes
from nas.space.files import locate_files
from nas.space.search_space import Group
from nas.training.population import obstacle, pays

T = TypeVar("T")
POPULATION_ON_CPU, POPULATION_ON_GPU = 8, 32  # trials, where it is left to us


@dataclass(frozen=True)
class Setup:
    """A checked experiment and what it names.

    Args:
        experiment: With every default written out, those of the components included.
        dataset: The dataset.
        space: The search space over the dataset's modalities.
        proposals: Proposes architectures of the space.
        pruner: Stops trials early.
        loggers: Are told of the search.
        warnings: Installed plugins that failed to import, and what the dataset has left out.
        document: The file that the experiment was read from, which places errors.
    """

    experiment: Experiment
    dataset: Dataset
    space: SearchSpace
    proposals: Proposals
    pruner: Any
    loggers: Sequence[Logger]
    warnings: Sequence[str]
    document: Document


def prepare(file: Path, overrides: Sequence[str]) -> Setup:
    """Read an experiment file, load its plugins and dataset, and check all that it names.

    Raises:
        RequestError: Something is wrong; says where, what was given, and what is allowed.
    """
    experiment, document = load_experiment(file, overrides)
    warnings = [str(failure) for failure in load_entry_points()]
    try:
        return _prepare(experiment, document, warnings)
    except KeyPathError as error:
        raise document.error(KeyPathError(as_written(error.path, document), error.message)) from None
    except RequestError as error:
        raise RequestError(f"{document.file}: {error}") from None


def _prepare(experiment: Experiment, document: Document, warnings: list[str]) -> Setup:
    """Check what the experiment names."""
    _load_plugins(experiment.plugins)
    _check_objectives(experiment)
    if experiment.search.storage and experiment.search.inheritance:
        raise KeyPathError(
            ("search", "inheritance"),
            "needs the weights of every trial, and drivers that share a storage keep only their own; "
            "leave it out, or leave search.storage out",
        )
    sampler = _component("sampler", experiment.search.sampler, ("search", "sampler"))
    pruner = _component("pruner", experiment.search.pruner, ("search", "pruner"))
    loggers = [
        _component("logger", selection, ("results", "loggers", str(index)))
        for index, selection in enumerate(experiment.results.loggers)
    ]
    dataset: Dataset = _component("dataset", experiment.data, ("data",))
    divided = _folds(experiment, dataset)
    try:
        without = _add_ons_left_out(experiment.training, dataset.task)
        space = assemble(experiment.space, dataset.modalities, without)
        space = locate_files(space, document.source(("space",)).parent)
        check_encoders(space, dataset.modalities)
    except KeyPathError as error:
        raise KeyPathError(("space", *error.path), error.message) from None
    if "objectives" not in experiment.model_fields_set:
        experiment = experiment.model_copy(update={"objectives": default_objectives(dataset.task)})
    _check_fit(experiment, dataset)
    _check_defined(experiment.objectives, divided, dataset.task)
    _check_training(space, experiment, dataset.task)
    resolved = experiment.model_copy(update={"space": space.to_data()})
    search = experiment.search
    proposals = Proposals(
        space,
        sampler,
        search.seed,
        lambda architecture: identity(architecture, dataset.modalities, dataset.task),
        search.seeds,
        search.racing,
        search.inheritance,
        experiment.validation.folds,
        experiment.training.encoders == "frozen",
        _groups(experiment, dataset),
        outline,
        _exact(experiment, dataset),
    )
    warnings = [*warnings, *getattr(dataset, "notes", ()), *_without_effect(experiment)]
    return Setup(resolved, dataset, space, proposals, pruner, loggers, warnings, document)


def _folds(experiment: Experiment, dataset: Dataset) -> list[dict[str, Split]]:
    try:
        return folds(dataset, experiment.validation.folds, experiment.validation.groups)
    except (RequestError, ValueError) as error:
        raise KeyPathError(("validation",), str(error)) from None


def _exact(experiment: Experiment, dataset: Dataset) -> Callable[[Architecture], dict[str, float]]:
    """From an architecture to those objectives and constraints that cost little and follow from it alone."""
    measured = {name: create("objective", name) for name in {*experiment.objectives, *experiment.constraints}}
    # What every trial logs needs neither a device nor samples.
    exact = {name: o for name, o in measured.items() if o.cheap and getattr(o, "logged", False)}
    if not exact:
        return lambda architecture: {}
    sample = dataset.splits["train"].batch(torch.zeros(1, dtype=torch.long))

    def measure(architecture: Architecture) -> dict[str, float]:
        try:
            network = build(architecture, dataset.modalities, dataset.task)
            context = Context(network, dataset.modalities, dataset.task, sample)
            return {name: float(objective(context)) for name, objective in exact.items()}
        except Exception:  # whatever a component raises: a trial will say so
            return {}

    return measure


def _groups(experiment: Experiment, dataset: Dataset) -> Groups:
    """Which trials train together, as `training.population` says."""
    population = experiment.training.population
    gpu = _on_gpus(experiment.execution)
    if population == "off" or (population == "auto" and not gpu and experiment.search.seeds == 1):
        return Groups()
    size = population if isinstance(population, int) else POPULATION_ON_GPU if gpu else POPULATION_ON_CPU

    def suits(architecture: Architecture) -> bool:
        try:
            network = build(architecture, dataset.modalities, dataset.task)
            settings = experiment.training.chosen_by(architecture)
        except Exception:  # whatever a component raises: the trial will say so
            return False
        if obstacle(network, settings) is not None:
            return False
        return population != "auto" or gpu or pays(network, settings)

    return Groups(size, population != "auto" or gpu, suits)


def _on_gpus(execution: Execution) -> bool:
    """Whether trials run on GPUs; the driver of a cluster need not have one, nor use the one it has."""
    return execution.gpus_per_trial > 0 if execution.backend == "ray" else torch.cuda.is_available()


def _without_effect(experiment: Experiment) -> list[str]:
    """What is set and changes nothing, in words for the person."""
    found = []
    if experiment.execution.checkpoint_every and experiment.training.encoders != "joint":
        found.append(
            "execution.checkpoint_every does nothing for trials that train with training.encoders: "
            f"{experiment.training.encoders}: one whose worker dies begins again"
        )
    if experiment.validation.groups and experiment.validation.folds == 1:
        found.append("validation.groups does nothing without validation.folds: the dataset's own splits stay")
    return found


def _load_plugins(paths: Sequence[str]) -> None:
    for index, plugin in enumerate(paths):
        path = ("plugins", str(index))
        try:
            failures = load_plugins([plugin])
        except RequestError as error:
            raise KeyPathError(path, str(error)) from None
        if failures:
            raise KeyPathError(path, "; ".join(map(str, failures)))


def _component(kind: str, selection: dict[str, dict[str, Any]], path: tuple[str, ...]) -> Any:
    [(name, options)] = selection.items()
    make: Callable[..., Any] = load_dataset if kind == "dataset" else create
    arguments = (name,) if kind == "dataset" else (kind, name)
    try:
        return make(*arguments, **options)
    except KeyPathError as error:
        raise KeyPathError((*path, name, *error.path), error.message) from None
    except (RequestError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise KeyPathError(path if name not in available(kind) else (*path, name), str(error)) from None


def _check_objectives(experiment: Experiment) -> None:
    names = available("objective")
    for name, direction in experiment.objectives.items():
        if name not in names:
            raise KeyPathError(
                ("objectives", name), f"{name!r} is not an objective; {near_misses(name, names)}"
            )
        natural = getattr(get("objective", name), "direction", None)
        if direction != natural:
            raise KeyPathError(("objectives", name), f"{name} is there to {natural}, not to {direction}")
    cheap = [name for name in names if getattr(get("objective", name), "cheap", False)]
    for name in experiment.constraints:
        if name not in cheap:
            raise KeyPathError(
                ("constraints", name), f"{name!r} is not known before training; {near_misses(name, cheap)}"
            )


def _check_fit(experiment: Experiment, dataset: Dataset) -> None:
    """Every objective fits the task and the number of modalities, and so does every training setting."""
    misfits = {name: _misfit(get("objective", name), dataset) for name in available("objective")}
    fitting = [name for name, misfit in misfits.items() if misfit is None]
    for name in experiment.objectives:
        if misfits[name] is not None:
            raise KeyPathError(("objectives", name), f"{name} {misfits[name]}; {near_misses(name, fitting)}")
    for name in experiment.training.model_fields_set:
        if getattr(experiment.training, name) != Training.model_fields[name].default:
            _check_setting(name, dataset.task, ("training", name))


def _check_defined(objectives: Iterable[str], divided: Sequence[Mapping[str, Split]], task: Task) -> None:
    """No objective is bound to be no number by the labels for validation, where those are at hand."""
    for fold, splits in enumerate(divided):
        labels = getattr(splits["validation"], "labels", None)
        if not isinstance(labels, torch.Tensor):
            return
        where = "the validation split" if len(divided) == 1 else f"fold {fold}"
        for name in objectives:
            is_defined = getattr(create("objective", name), "is_defined", None)
            if is_defined and not is_defined(labels, task):
                raise KeyPathError(
                    ("objectives", name),
                    f"{name} is not a number on {where} (samples: {len(labels):,}), whatever is predicted; "
                    "give more rows, of several classes or values, or choose another objective",
                )


def _misfit(objective: type, dataset: Dataset) -> str | None:
    tasks, least = getattr(objective, "tasks", TASKS), getattr(objective, "least_modalities", 1)
    if dataset.task.kind not in tasks:
        return f"is for {' and '.join(tasks)}, and the task of the data is {dataset.task.kind}"
    if len(dataset.modalities) < least:
        return f"needs at least {least} modalities, and the data have {len(dataset.modalities)}"
    return None


def _check_setting(name: str, task: Task, path: tuple[str, ...]) -> None:
    tasks = SETTINGS_OF_TASKS.get(name, TASKS)
    if task.kind not in tasks:
        raise KeyPathError(
            path,
            f"{name} is for {' and '.join(tasks)}, and the task of the data is {task.kind}; leave it out",
        )


def _add_ons_left_out(training: Training, task: Task) -> list[str]:
    """What `add_ons: all` does not search: add-ons that are pinned, unfit for the task, or without effect."""
    unfit = [name for name, tasks in SETTINGS_OF_TASKS.items() if task.kind not in tasks]
    of_encoders = ["modulation"] if training.encoders == "frozen" else []
    return [*training.add_ons, *unfit, *of_encoders]


def _check_training(space: SearchSpace, experiment: Experiment, task: Task) -> None:
    """Every value that the space gives a training setting is legal, and no setting is given twice."""
    settings = space.root.children.get("training", Group({}))
    assert isinstance(settings, Group)
    for name, node in settings.children.items():
        path = ("space", "training", name)
        allowed = [field for field in Training.model_fields if field != "population"]
        if name not in allowed:
            raise KeyPathError(path, f"{name!r} is not a key here; {near_misses(name, allowed)}")
        _check_setting(name, task, path)
        pinned = getattr(experiment.training, name)
        if pinned != Training.model_fields[name].default:
            raise KeyPathError(
                path,
                f"is given here and pinned to {pinned!r} by the experiment's `training`; keep one",
            )
        for value in extremes(node):
            _check_value(name, value, path)


def _check_value(name: str, value: Any, path: tuple[str, ...]) -> None:
    try:
        Training.model_validate({name: value})
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Input ")
        raise KeyPathError(path, f"{value!r} is not allowed: {reason}") from None
