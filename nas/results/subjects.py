"""What is trained again: members of a run, and what they have to be compared with."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import KeyPathError, RequestError
from nas.experiment import Experiment, Training, load_experiment
from nas.modality import ModalitySpec
from nas.registry import require_plugins
from nas.results.records import Candidate, History, Record
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.space import Architecture
from nas.space.assemble import OF_SEVERAL, assemble


@dataclass(frozen=True)
class Subject:
    """A network that is to be trained again.

    Args:
        label: What a person calls it, such as `trial 7` or `late fusion`.
        architecture: Its architecture.
        trial: Number of its trial in the run; None for one that comes from elsewhere.
        found: Objectives that the search saw, means where the network was replicated.
    """

    label: str
    architecture: Architecture
    trial: int | None = None
    found: tuple[tuple[str, float], ...] = ()

    def file(self, run: RunDirectory) -> Path:
        """Where the results of its trainings are kept."""
        folder = (
            run.path / "retrained" / self.architecture.id if self.trial is None else run.trial(self.trial)
        )
        return folder / "retrained.json"

    def weights(self, run: RunDirectory, index: int) -> Path:
        """Where the network of one of its trainings is kept, for `nas.load`; they count from 0."""
        return self.file(run).with_name(f"retrained-{index}.safetensors")


def find_record(run: RunDirectory, number: int) -> Record:
    """The record of a trial.

    Raises:
        RequestError: There is no run, or no trial of that number.
    """
    return _record(run, read_history(run), number)


def _record(run: RunDirectory, history: History, number: int) -> Record:
    records = history.records
    if not records:
        raise RequestError(f"{run.path} has no trials yet; start the search first")
    if number >= len(records):
        raise RequestError(f"{run.path} has no trial {number}; its trials are 0 to {len(records) - 1}")
    return records[number]


def trials(run: RunDirectory, numbers: Sequence[int], history: History | None = None) -> list[Subject]:
    """The trials of these numbers.

    Args:
        run: The run.
        numbers: Numbers of trials.
        history: The trials of the run, where they have been read.

    Raises:
        RequestError: There is no run, or no trial of such a number.
    """
    history = history or read_history(run)
    records = [_record(run, history, number) for number in numbers]
    candidates = {record.number: one for one in history.candidates for record in one.records}
    return [_trial(record, candidates.get(record.number)) for record in records]


def front(run: RunDirectory) -> list[Subject]:
    """The members of the front.

    Raises:
        RequestError: There is no run, or no member.
    """
    members = read_history(run).front()
    if not members:
        raise RequestError(f"{run.path} has no front yet: no trial is complete")
    return [_trial(candidate.records[0], candidate) for candidate in members]


def baselines(run: RunDirectory) -> list[Subject]:
    """Each modality alone, and late fusion of all, each with the encoder of the best network that uses it.

    Width and training are those of the best member of the front; a modality alone has no add-ons, as in
    the search.

    Raises:
        RequestError: The run has no front.
    """
    best = _best(run).to_data()
    modalities, _ = run.data()
    encoders = _encoders(run, modalities)
    shared = {"dim": best["dim"], "head": {"linear": {}}}
    training = best.get("training", {})
    own = {name: value for name, value in training.items() if name not in OF_SEVERAL}
    alone = []
    for name, encoder in encoders.items():
        tree = shared | {"training": own, "encoders": {name: encoder}}
        alone.append(Subject(f"{name} alone", _using([name], modalities, tree)))
    if len(encoders) == 1:
        return alone
    late = {"training": training, "encoders": encoders, "connector": {"none": {}}, "fusion": {"late": {}}}
    return [*alone, Subject("late fusion", _using(encoders, modalities, shared | late))]


def _encoders(run: RunDirectory, modalities: Iterable[str]) -> dict[str, Any]:
    """By modality the encoder of the best network that uses it; of one that no network uses there is none."""
    history = read_history(run)
    found: dict[str, Any] = {}
    for candidate in sorted(history.candidates, key=lambda candidate: history.losses(candidate.values)):
        found = candidate.architecture.to_data()["encoders"] | found
    return {name: found[name] for name in modalities if name in found}


def _using(names: Collection[str], modalities: Iterable[str], tree: dict[str, Any]) -> Architecture:
    return Architecture(tree | {"present": {name: name in names for name in modalities}})


def beside(run: RunDirectory, path: Path) -> Subject:
    """The best member of another run on the same data, or the one network of an experiment file.

    Args:
        run: The run whose data and objectives count.
        path: A run directory, or an experiment whose space has a single point.

    Raises:
        RequestError: It is neither, or cannot be compared.
    """
    experiment = run.experiment()
    if path.is_dir():
        other = RunDirectory(path)
        _check_comparable(experiment, other.experiment(), path)
        return Subject(f"best of {path.name}", _best(other))
    fixed, document = load_experiment(path)
    _check_comparable(experiment, fixed, path)
    require_plugins(fixed.plugins)
    try:
        architecture = _only_point(fixed, run.data()[0])
    except KeyPathError as error:
        raise document.error(KeyPathError(("space", *error.path), error.message)) from None
    return Subject(fixed.name, architecture)


def _trial(record: Record, candidate: Candidate | None) -> Subject:
    found = tuple(candidate.values.items()) if candidate else ()
    return Subject(f"trial {record.number}", record.architecture, record.number, found)


def _best(run: RunDirectory) -> Architecture:
    """The member of the front that is best in the first objective."""
    history = read_history(run)
    members = history.front()
    if not members:
        raise RequestError(f"{run.path} has no front yet: no trial is complete")
    return min(members, key=lambda member: history.losses(member.values)).architecture


def _check_comparable(experiment: Experiment, other: Experiment, path: Path) -> None:
    for what in ("data", "objectives"):
        mine, theirs = getattr(experiment, what), getattr(other, what)
        if mine != theirs:
            raise RequestError(
                f"{path} cannot be compared with this run: its {what} are {theirs}, not {mine}"
            )


def _only_point(experiment: Experiment, modalities: dict[str, ModalitySpec]) -> Architecture:
    """The only point of a space, with the training settings that its experiment pins, epochs aside."""
    space = assemble(experiment.space, modalities)
    if space.size != 1:
        raise KeyPathError((), f"has {space.size:,} points; one network is needed, as in a fixed baseline")
    [point] = space.points()
    settings = experiment.training.model_dump(exclude_defaults=True)
    own = {
        name: value for name, value in settings.items() if name in Training.model_fields and name != "epochs"
    }
    tree = point.to_data()
    return Architecture(tree | {"training": own | tree.get("training", {})})
