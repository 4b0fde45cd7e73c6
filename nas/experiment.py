"""The experiment file: what is searched, on which data, for what, and how."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nas.documents import Document, override, parse_value, read_document
from nas.errors import KeyPathError, RequestError, near_misses
from nas.registry import available, load_entry_points, load_plugins
from nas.space.assemble import ADD_ONS

LEAST_RESOURCE = 1e-4  # of a processor or a GPU

Direction = Literal["maximize", "minimize"]
SHOWN = 60  # characters of a value, in a message


def _selection(value: Any) -> Any:
    """A component is given as its name or as `{name: settings}`; kept as the latter."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and len(value) == 1:
        [(name, settings)] = value.items()
        return {name: {} if settings is None else settings}
    raise ValueError("give a name, or {name: settings}")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("give letters, digits, '.', '_' and '-', with a letter or a digit first")
    return value


def _bound(value: Any) -> Any:
    try:
        fits = math.isfinite(float(re.fullmatch(r"\s*[<>]=(.*)", value)[1]))  # type: ignore[index]
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError("give a bound such as '<= 200000' or '>= 0.5'")
    return value


def _storage(value: str) -> str:
    """A database URL without a password: experiments are stored and shown in reports."""
    address = value.partition("://")[2].rpartition("@")[0]
    if not re.match(r"(postgresql|mysql|mariadb)(\+\w+)?://", value):
        raise ValueError(
            "give the URL of a PostgreSQL or MySQL database, such as postgresql+psycopg://host/name"
        )
    if ":" in address or re.search(r"[?&]passw(or)?d=", value):
        raise ValueError(
            "leave the password out of the URL; put it in ~/.pgpass or PGPASSWORD for PostgreSQL, and for "
            "MySQL in ~/.my.cnf, with ?read_default_file=~/.my.cnf at the end of the URL"
        )
    return value


def _switch(value: Any) -> Any:
    """YAML reads `off` as false."""
    return "off" if value is False else value


def _resource(value: float) -> float:
    if 0 < value < LEAST_RESOURCE:
        raise ValueError(f"should be at least {LEAST_RESOURCE}, which is the least that Ray divides by")
    return value


def _gpus(value: float) -> float:
    if value > 1 and value % 1:
        raise ValueError("give a share of one GPU, at most 1, or a whole number of GPUs")
    return _resource(value)


Population = Annotated[Literal["auto", "off"] | Annotated[int, Field(ge=2)], BeforeValidator(_switch)]
Selection = Annotated[dict[str, dict[str, Any]], BeforeValidator(_selection)]
Name = Annotated[str, AfterValidator(_name)]
Bound = Annotated[str, BeforeValidator(_bound)]
Storage = Annotated[str, AfterValidator(_storage)]


Device = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]

BACKEND_KEYS = {
    "local": ("workers_per_gpu", "devices"),
    "ray": ("address", "cpus_per_trial", "gpus_per_trial", "max_concurrent", "storage"),
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stop(_Section):
    """What ends a search before it has its trials; those that run then still finish.

    Args:
        seconds: Time since the search was started, or resumed.
        epochs: Epochs trained, over all trials.
        stagnation: Finished trials in a row of which none has improved the front.
    """

    seconds: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1)
    stagnation: int | None = Field(None, ge=1)


class Search(_Section):
    """How the study proposes, and for how long.

    Args:
        sampler: What proposes the next architecture.
        trials: Number of trials; those that a constraint rejects before the training come on top.
        stop: What ends the search before that.
        seed: Seed of everything random in the run.
        pruner: What stops trials early.
        seeds: Trainings of every architecture, each a trial with its own seed.
        racing: Share of the trials that repeat networks whose place on the front is in doubt.
        inheritance: Share of the trials with a parent on the front that start from its weights; the others
            are the control group by which the bias of inheritance is measured.
        storage: URL of a database in which several machines keep one study, such as
            `postgresql+psycopg://user@host/database`; None for a file in the run directory.
        lease: Seconds after which a machine that shows no sign of life has lost its trials to the others,
            and for which the database may be out of reach.
    """

    sampler: Selection = {"tpe": {}}
    trials: int = Field(40, ge=1)
    stop: Stop = Stop()
    seed: int = Field(0, ge=0)
    pruner: Selection = {"none": {}}
    seeds: int = Field(1, ge=1)
    racing: float = Field(0.0, ge=0, lt=1)
    inheritance: float = Field(0.0, ge=0, le=1)
    storage: Storage | None = None
    lease: float = Field(60.0, gt=0)


class Training(_Section):
    """How one network is trained; any of these may be a domain in the search space instead.

    Args:
        epochs: Passes over the training split.
        batch_size: Samples per step.
        learning_rate: Highest learning rate of the schedule.
        weight_decay: Decoupled weight decay (AdamW).
        schedule: `cosine` falls to zero along a half cosine after the warm-up; `constant` stays.
        warmup: Share of the steps over which the learning rate rises linearly.
        label_smoothing: Probability mass spread over all classes, or both values of a label, in the loss.
        class_weights: `balanced` lets every class, or both values of every label, count alike in the
            loss; `none` lets every sample.
        gradient_clip: Largest norm of the gradient; 0 leaves it alone.
        modality_dropout: Probability with which each modality of each sample is left out in training; the
            last one of a sample stays.
        auxiliary_loss: Weight of the mean loss of a linear head on every modality's own features; the heads
            are dropped after the training.
        gradient_blending: `offline` and `online` weigh the losses of such heads and of the network by
            how much they generalise and overfit, measured once before the training or again and again.
        modulation: `ogm_ge` slows the encoders of modalities that are ahead of the others.
        modulation_alpha: How much it slows them.
        precision: Numbers that networks compute with: `float32`, `tf32` for faster products on GPUs, or
            `bfloat16` where autocast allows it; weights, losses and objectives stay `float32`.
        channels_last: Whether the weights of convolutions lie in memory as GPUs take them fastest.
        search_phase: Share of the steps in which learnable wiring is searched; then it is frozen.
        identifiability: Whether a network with learnable wiring is searched again from several starts, to
            say if what it has learned is a finding. Costs three more search phases per trial: with the
            default `search_phase`, one and a half trainings.
        encoders: `joint` trains the whole network; `frozen` trains every encoder once, alone on its
            modality, keeps what it makes of the samples, and trains candidates on that. At its end such
            a search trains the members of its front on, as whole networks.
        population: How many trials of one shape train together as one batched network: a number, for
            which the study asks for so many alike; `off`; or `auto`: replicates where that is faster,
            and on a GPU as many as fit. Not a choice of the search space.
    """

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    gradient_clip: float = Field(1.0, ge=0)
    modality_dropout: float = Field(0.0, ge=0, lt=1)
    auxiliary_loss: float = Field(0.0, ge=0)
    gradient_blending: Literal["none", "offline", "online"] = "none"
    modulation: Literal["none", "ogm_ge"] = "none"
    modulation_alpha: float = Field(0.5, gt=0)
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    channels_last: bool = False
    search_phase: float = Field(0.5, ge=0, le=1)
    identifiability: bool = False
    encoders: Literal["joint", "frozen"] = "joint"
    population: Population = "auto"

    def chosen_by(self, architecture: Mapping[str, Any]) -> "Training":
        """These settings with those that an architecture chooses itself."""
        return Training.model_validate(self.model_dump() | dict(architecture.get("training", {})))

    @property
    def add_ons(self) -> list[str]:
        """The settings that let more take part in a training than the loss of the outputs."""
        return [name for name in ADD_ONS if getattr(self, name) != type(self).model_fields[name].default]


class Validation(_Section):
    """Which samples networks are measured on.

    Args:
        folds: With K of them the samples for training and for validation are divided into K parts. A trial
            trains on all parts but one and is measured on that: the first training of every network on
            the first part, so that networks can be compared, and its further trainings on other parts.
        groups: Column of which no value may be in two folds, of a dataset that offers groups.
    """

    folds: int = Field(1, ge=1)
    groups: str | None = None


SETTINGS_OF_TASKS = {  # of settings that do not fit every task
    "label_smoothing": ("classification", "multilabel"),
    "class_weights": ("classification", "multilabel"),
    "modulation": ("classification", "multilabel"),
}


class Retries(_Section):
    """How many times a trial is run again, from its start or its checkpoint, after a failure of each kind.

    Args:
        error: A component raised an error.
        nan: The training diverged, or an objective is no finite number.
        out_of_memory: The memory was not enough; the trial has its device to itself when it is run again.
        time_limit: The trial took longer than `execution.time_limit`.
        lost_worker: The worker process died.
    """

    error: int = Field(0, ge=0)
    nan: int = Field(0, ge=0)
    out_of_memory: int = Field(1, ge=0)
    time_limit: int = Field(0, ge=0)
    lost_worker: int = Field(1, ge=0)


class Execution(_Section):
    """Where trials run.

    Args:
        backend: `local` worker processes on this machine, or `ray` for Ray Tune, here or on a cluster.
        time_limit: Seconds that a trial may take; None for no limit.
        memory_limit: Main memory that a worker may take, in GB; None for no limit.
        retries: How many times a failed trial is run again, by the kind of its failure.
        workers: Trials at a time; `auto` is, with `local`, `workers_per_gpu` for every GPU, or one per core
            without a GPU, and with `ray` as many as the nodes have places for.
        workers_per_gpu: (`local`) Worker processes that share a GPU.
        devices: (`local`) GPUs to use, each by its index or UUID; `auto` for all.
        address: (`ray`) `local` starts Ray on this machine; `auto` finds the cluster that this machine is
            part of; else the address of a cluster, `HOST` or `HOST:PORT`.
        cpus_per_trial: (`ray`) Cores that a trial is given.
        gpus_per_trial: (`ray`) GPUs that a trial is given, a share of one or a whole number; 0.25 puts four
            trials on a GPU.
        max_concurrent: (`ray`) As `workers`, where a cluster shall grow to hold so many.
        checkpoint_every: Epochs after which a trial keeps its state, to go on from there should its worker or
            the driver die; 0 for never. With `ray` it is kept in `storage`.
        storage: (`ray`) Folder, or URL such as `s3://bucket/folder`, where Tune keeps its own state and that
            of trials; None for the folder `tune` of the run directory.
    """

    backend: Literal["local", "ray"] = "local"
    time_limit: float | None = Field(None, gt=0)
    memory_limit: float | None = Field(None, gt=0)
    retries: Retries = Retries()
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    workers_per_gpu: int = Field(1, ge=1)
    devices: Literal["auto"] | Annotated[list[Device], Field(min_length=1)] = "auto"
    address: str = "local"
    cpus_per_trial: Annotated[float, AfterValidator(_resource)] = Field(1.0, gt=0)
    gpus_per_trial: Annotated[float, AfterValidator(_gpus)] = Field(0.0, ge=0)
    max_concurrent: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(0, ge=0)
    storage: str | None = None

    @model_validator(mode="after")
    def _check_storage(self) -> "Execution":
        """Checkpoints of a cluster are where all its nodes reach them; their URL is stored and shown."""
        if re.search(r"://[^/?]*@|[?&](access_key|secret_key|session_token)=", self.storage or ""):
            raise ValueError(
                "leave the keys out of storage; put them where nodes find them, such as ~/.aws/credentials"
            )
        far = self.backend == "ray" and self.address != "local"
        if far and self.checkpoint_every and self.storage is None:
            raise ValueError("checkpoint_every needs storage, a folder or URL that all nodes reach")
        return self

    @model_validator(mode="after")
    def _check_backend(self) -> "Execution":
        """What is set belongs to the backend that is chosen."""
        for backend, names in BACKEND_KEYS.items():
            changed = [n for n in names if getattr(self, n) != Execution.model_fields[n].default]
            if changed and backend != self.backend:
                raise ValueError(f"{changed[0]} is for backend: {backend}, and this is {self.backend}")
        return self


class Results(_Section):
    """Who else is told of the search while it goes on.

    Args:
        loggers: Such as `tensorboard`, or `{mlflow: {uri: "http://localhost:5000"}}`.
    """

    loggers: list[Selection] = []


class Experiment(_Section):
    """A whole experiment with every default written out.

    Args:
        name: Name of the study and of the default run directory.
        data: `{dataset: {options}}`.
        space: The search space as it stands in its file; see `nas.space.assemble`. By default all networks,
            with and without each add-on of their training.
        objectives: Objective components and their directions, in the order of the front's axes.
        search: How the study proposes.
        training: How one network is trained.
        validation: Which samples networks are measured on.
        execution: Where trials run.
        results: Who else is told of the search.
        plugins: Python files, or folders of them, that register more components.
        constraints: Bounds on objectives known before training, such as `{parameters: "<= 200000"}`.
    """

    name: Name
    data: dict[str, dict[str, Any]]
    space: dict[str, Any] = {"training": {"add_ons": "all"}}
    objectives: dict[str, Direction] = Field({"accuracy": "maximize", "parameters": "minimize"}, min_length=1)
    search: Search = Search()
    training: Training = Training()
    validation: Validation = Validation()
    execution: Execution = Execution()
    results: Results = Results()
    plugins: list[str] = []
    constraints: dict[str, Bound] = {}

    @property
    def data_name(self) -> str:
        """What a person calls the data: their file or folder, or the dataset where it has none."""
        [(name, options)] = self.data.items()
        source = options.get("source")
        return Path(source).name if isinstance(source, str) else name

    def to_data(self) -> dict[str, Any]:
        """The experiment as it would stand in a file."""
        return self.model_dump(mode="json")

    def difference(self, other: "Experiment") -> str | None:
        """The first thing that makes `other` another search, its key path first; None where it is the same.

        Where trials run and how many there are may change from one session to the next, and so may the
        space, with the plugins that it needs.
        """
        mine, theirs = (_comparable(experiment) for experiment in (self, other))
        for key in mine | theirs:
            there, here = (side.get(key, "nothing") for side in (mine, theirs))
            if there != here:
                return f"{key} differs ({_in_short(there)} there, {_in_short(here)} here)"
        return None


def excess(value: float, bound: str) -> float:
    """By how much a value exceeds a bound such as `<= 200000`; zero or less where it keeps it."""
    operator, limit = bound.strip()[:2], float(bound.strip()[2:])
    return value - limit if operator == "<=" else limit - value


def load_experiment(file: Path | str, overrides: Sequence[str] = ()) -> tuple[Experiment, Document]:
    """Read, complete and check an experiment file.

    Args:
        file: The experiment file; paths in it are relative to its folder.
        overrides: `key.path=value` each, set after the file is read; the value is YAML.

    Returns:
        The experiment, and the document it was read from, which places later errors.

    Raises:
        RequestError: The file or an override is wrong; says which file, line and key path, what was
            given and what is allowed.
    """
    document = read_document(Path(file))
    try:
        _include_space(document)
        for text in overrides:
            _override(document, text)
        return _validate(document), document
    except KeyPathError as error:
        raise document.error(error) from None


def _override(document: Document, text: str) -> None:
    key, equals, value = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise RequestError(f"--set {text!r} is not of the form key.path=value")
    try:
        override(document.data, path, parse_value(value))
    except KeyPathError:
        raise
    except RequestError as error:
        raise RequestError(f"--set {key}: {error}") from None
    document.overridden.add(path)
    _include_space(document)


def _include_space(document: Document) -> None:
    space = document.data.get("space")
    if isinstance(space, str):
        try:
            included = read_document(document.file.parent / space)
        except RequestError as error:
            raise KeyPathError(("space",), str(error)) from None
        document.data["space"] = included.data
        document.included[("space",)] = included


def _validate(document: Document) -> Experiment:
    folder = document.file.parent
    data = {"name": document.file.stem} | document.data
    if "data" not in data:
        raise KeyPathError((), "the key 'data' is missing; name a dataset, such as `data: avt_digits`")
    plugins = data.get("plugins") or []
    if isinstance(plugins, list) and all(isinstance(path, str) for path in plugins):
        data["plugins"] = [str((folder / path).resolve()) for path in plugins]
    data["data"] = _data_source(data["data"], folder, data.get("plugins") or [])
    data["execution"] = _located_storage(data.get("execution"), folder)
    data = {key: value for key, value in data.items() if value is not None}
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise _explain(error) from None


def _located_storage(execution: Any, folder: Path) -> Any:
    """The section with `storage`, where it is a folder and no URL, relative to the experiment's folder."""
    storage = execution.get("storage") if isinstance(execution, dict) else None
    if not isinstance(storage, str) or not storage or "://" in storage:
        return execution
    return execution | {"storage": str((folder / Path(storage).expanduser()).absolute())}


def _data_source(data: Any, folder: Path, plugins: Any) -> Any:
    """Bring the three ways to name a dataset to one: `{dataset: {options}}`.

    `avt_digits`; `{avt_digits: {modalities: [image]}}`; `{manifest: data.csv, label: label}`, where the
    value of the key that names the dataset says where the data are and the other keys are options. Where
    they are, the option `source`, is relative to the experiment's folder.
    """
    if isinstance(data, str):
        return {data: {}}
    if not isinstance(data, dict) or not data:
        raise KeyPathError(("data",), f"{data!r} names no dataset; give its name, or {{name: options}}")
    name = _dataset_key(list(data), plugins)
    value = data[name]
    options = dict(value) if isinstance(value, dict) else {}
    if isinstance(value, str):
        options["source"] = value
    elif value is not None and not isinstance(value, dict):
        raise KeyPathError(("data", name), f"{value!r} is neither a path nor a mapping of options")
    options |= {key: option for key, option in data.items() if key != name}
    if isinstance(options.get("source"), str):
        options["source"] = str((folder / options["source"]).resolve())
    return {name: options}


def _dataset_key(keys: Sequence[str], plugins: Any) -> str:
    """The key that names the dataset: the first, or where that is none the only other one that does or may.

    Programs that write YAML may have sorted the keys. Plugins are loaded where it takes them to know; those
    that fail are told of when the experiment is prepared.
    """
    first = keys[0]
    if len(keys) == 1 or first in available("dataset"):
        return first
    load_entry_points()
    with suppress(RequestError, TypeError):
        load_plugins(plugins)
    names = available("dataset")
    known = [key for key in keys if key in names]
    close = [key for key in keys if get_close_matches(key, names, cutoff=0.75)]
    if first in known:
        return first
    return next((found[0] for found in (known, close) if len(found) == 1), first)


def as_written(path: tuple[str, ...], document: Document) -> tuple[str, ...]:
    """The key path as the document has it: options stand beside the dataset's name in the short form."""
    given = document.data.get("data")
    beside = len(path) > 2 and path[0] == "data" and isinstance(given, dict) and path[2] in given
    return (path[0], *path[2:]) if beside else path


def _explain(error: ValidationError) -> KeyPathError:
    errors = [(_path(found["loc"]), found) for found in error.errors(include_url=False)]
    path, first = errors[0]
    given = first["input"]
    match first["type"]:
        case "extra_forbidden":
            return KeyPathError(
                path, f"{path[-1]!r} is not a key here; {near_misses(path[-1], _keys_at(path[:-1]))}"
            )
        case "missing":
            return KeyPathError(path, "is missing")
        case _:
            reasons = " or ".join(_sentence(found["msg"]) for place, found in errors if place == path)
            return KeyPathError(path, f"{given!r} is not allowed: {reasons}")


def _path(location: Sequence[int | str]) -> tuple[str, ...]:
    """The key path of an error of pydantic, which names the parts of a union as well."""
    labels = ("int", "constrained-int", "[key]")
    parts = [str(part) for part in location if part not in labels]
    return tuple(part for part in parts if not part.startswith(("literal[", "list[")))


def _sentence(message: str) -> str:
    message = re.sub(r"^(Value error, |Input )", "", message)
    return re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping of keys to values", message)


def _keys_at(path: Sequence[str]) -> list[str]:
    model: Any = Experiment
    for key in path:
        model = model.model_fields[key].annotation
    return list(model.model_fields)


def _in_short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _comparable(experiment: Experiment) -> dict[str, str]:
    data = experiment.to_data()
    del data["execution"], data["search"]["trials"], data["search"]["stop"], data["space"], data["plugins"]
    del data["results"]
    parts: dict[str, Any] = {"objectives": data.pop("objectives")}  # in the order of the values
    for section, content in data.items():
        if isinstance(content, dict):
            parts |= {f"{section}.{key}": value for key, value in content.items()}
        else:
            parts[section] = content
    return {key: json.dumps(value) for key, value in parts.items()}  # with the order of the options
