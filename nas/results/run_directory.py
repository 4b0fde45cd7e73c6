"""The run directory: all that one search leaves behind, as files that a person can read.

Writes are atomic (a temporary file, then a rename); `events.jsonl` is appended line by line.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from nas.errors import RequestError
from nas.experiment import Experiment
from nas.files import LEFTOVERS, written_whole
from nas.modality import ModalitySpec, Preprocessing, Task
from nas.results.belonging import certainty, margins
from nas.results.records import Candidate, History, Record
from nas.results.selections import in_short

LOGGED = ("parameters", "sparsity", "flops")


class RunDirectory:
    """The files of one run.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.experiment_file = self.path / "experiment.yaml"
        self.data_file = self.path / "data.json"
        self.preprocessing_file = self.path / "preprocessing.json"
        self.database = self.path / "study.db"
        self.events_file = self.path / "events.jsonl"
        self.environment_file = self.path / "environment.json"

    @property
    def exists(self) -> bool:
        """Whether a search has been started here."""
        return self.experiment_file.exists()

    @property
    def writable(self) -> bool:
        """Whether this process has the right to make files here."""
        return os.access(self.path, os.W_OK)

    @property
    def shared_storage(self) -> str | None:
        """URL of the database that this run shares with others; None for its own."""
        return self.experiment().search.storage if self.exists else None

    @property
    def storage_url(self) -> str:
        """URL of the Optuna storage of this run."""
        return self.shared_storage or f"sqlite:///{self.database.resolve()}"

    @property
    def has_study(self) -> bool:
        """Whether there is a study to be read."""
        return self.shared_storage is not None or self.database.exists()

    def create(
        self,
        experiment: Experiment,
        modalities: Mapping[str, ModalitySpec],
        task: Task,
        notes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """Make the directory and write what the run starts from.

        Args:
            experiment: With every default written out.
            modalities: Those of the dataset.
            task: That of the dataset.
            notes: What the report says of the data, such as what was left out.
            preprocessing: How samples become the inputs of its networks; None where nobody says it.

        Raises:
            RequestError: The directory cannot be written, or holds something else.
        """
        try:
            if any(not self._is_leftover(entry) for entry in self.path.glob("*")):
                raise RequestError(
                    f"{self.path} is not empty and holds no run; choose another folder with --run-dir"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            data = {
                "modalities": {name: spec.to_data() for name, spec in modalities.items()},
                "task": task.to_data(),
                "notes": list(notes),
            }
            write_atomically(self.data_file, json.dumps(data, indent=1))
            if preprocessing:
                write_atomically(self.preprocessing_file, json.dumps(preprocessing.to_data()))
            self.write_experiment(experiment)
        except OSError as error:
            raise RequestError(
                f"{self.path} cannot be written: {error.strerror}; choose another folder with --run-dir"
            ) from None

    def write_experiment(self, experiment: Experiment) -> None:
        """Write `experiment.yaml`; with it the directory is a run."""
        write_atomically(self.experiment_file, yaml.safe_dump(experiment.to_data(), sort_keys=False))

    def _is_leftover(self, entry: Path) -> bool:
        """Whether a file is what a kill left of a run that was about to begin."""
        return entry in (self.data_file, self.preprocessing_file) or entry.name.startswith(".")

    def experiment(self) -> Experiment:
        """The experiment of this run.

        Raises:
            RequestError: There is no run here.
        """
        if not self.exists:
            raise RequestError(
                f"{self.path} holds no run: there is no experiment.yaml in it; give the folder of a search, "
                "such as runs/ws"
            )
        return Experiment.model_validate(yaml.safe_load(self.experiment_file.read_text(encoding="utf-8")))

    def data(self) -> tuple[dict[str, ModalitySpec], Task]:
        """The modalities and the task of this run's dataset."""
        data = json.loads(self.data_file.read_text(encoding="utf-8"))
        modalities = {name: ModalitySpec.from_data(spec) for name, spec in data["modalities"].items()}
        return modalities, Task.from_data(data["task"])

    def preprocessing(self) -> Preprocessing | None:
        """How samples become the inputs of this run's networks; None where the run does not say it."""
        if not self.preprocessing_file.exists():
            return None
        return Preprocessing.from_data(json.loads(self.preprocessing_file.read_text(encoding="utf-8")))

    def notes(self) -> list[str]:
        """What is to be said of this run's data, such as what was left out of them."""
        notes: list[str] = json.loads(self.data_file.read_text(encoding="utf-8")).get("notes", [])
        return notes

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.path / "trials" / str(number)

    def weights(self, number: int) -> Path:
        """The file of a trial's trained weights; there for members of the front."""
        return self.trial(number) / "weights.safetensors"

    def metrics(self, number: int) -> list[dict[str, Any]]:
        """The metrics of a trial's epochs, oldest first."""
        return _whole_lines(self.trial(number) / "metrics.jsonl")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one writer.

        Raises:
            RequestError: Another process holds it, or it cannot be written.
        """
        lock = self.path / ".lock"
        made = [path for path in (lock, self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = lock.open("a+")
        except OSError as error:
            raise RequestError(
                f"{self.path} cannot be written: {error.strerror}; choose another folder with --run-dir"
            ) from None
        self._check_rights()
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RequestError(f"another process is working in {self.path}; wait for it to end") from None
            try:
                yield
            finally:
                if not self.exists:
                    _remove_empty(made)

    def _check_rights(self) -> None:
        for path in (self.path, self.database, self.events_file):
            if path.exists() and not os.access(path, os.W_OK):
                raise RequestError(
                    f"{path} cannot be written; get the right to, or choose another folder with --run-dir"
                )

    def append_event(self, event: str, **details: Any) -> None:
        """Add one line to `events.jsonl`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.events_file.open("a", encoding="utf-8") as file:
            file.write(_line({"time": now, "event": event} | details))

    def events(self) -> list[dict[str, Any]]:
        """The decisions of the run so far, oldest first."""
        return _whole_lines(self.events_file)

    def write_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Have `events.jsonl` say this and nothing else."""
        write_atomically(self.events_file, "".join(map(_line, events)))

    def sessions(self) -> list[dict[str, Any]]:
        """On what the search has run, one entry per session; see `nas.results.environment`."""
        if not self.environment_file.exists():
            return []
        return json.loads(self.environment_file.read_text(encoding="utf-8"))

    def add_session(self, environment: Mapping[str, Any]) -> None:
        """Note on what another session of the search runs."""
        sessions = [*self.sessions(), dict(environment)]
        write_atomically(self.environment_file, json.dumps(sessions, indent=1))

    def mend_events(self) -> None:
        """Remove what a kill or a full disk left half-written: lines of the events, and temporary files."""
        for pattern in (LEFTOVERS, f"trials/*/{LEFTOVERS}"):
            for leftover in self.path.glob(pattern):
                leftover.unlink(missing_ok=True)
        if self.events_file.exists():
            self.write_events(self.events())

    def write_tables(self, history: History, folder: Path | None = None) -> None:
        """Write `trials.csv`, `pareto.csv` and `pareto.json`, into another folder if one is given."""
        folder = folder or self.path
        columns = [*history.objectives, *(name for name in LOGGED if name not in history.objectives)]

        def row(record: Record) -> dict[str, Any]:
            measured = {name: _plain(record.values.get(name)) for name in columns}
            seconds = "" if record.seconds is None else f"{record.seconds:.3f}"
            known = {"number": record.number, "state": record.state} | measured
            return known | {"architecture_id": record.architecture.id, "seconds": seconds}

        front, off = history.front(), margins(history)
        odds = certainty(history) if off else {}

        def member(candidate: Candidate) -> dict[str, Any]:
            further: dict[str, Any] = {"modalities": in_short(candidate.architecture)["modalities"]}
            if off:  # something was replicated
                own = {f"{name}_margin": value for name, value in off[candidate.number].items()}
                further |= {"trainings": len(candidate.records)} | own | {"sure": odds[candidate.number]}
            return row(candidate.summary) | further

        members = [
            {
                "number": candidate.number,
                "values": {name: _integral(value) for name, value in candidate.values.items()},
                "architecture": candidate.architecture.to_data(),
            }
            for candidate in front
        ]
        header = ["number", "state", *columns, "architecture_id", "seconds"]
        write_atomically(folder / "trials.csv", _table(map(row, history.records), header))
        write_atomically(folder / "pareto.csv", _table(map(member, front), [*header, "modalities"]))
        write_atomically(folder / "pareto.json", json.dumps(members, indent=1))


def write_atomically(file: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file so that it is there in whole or not at all; see `nas.files.written_whole`."""
    with written_whole(file, durable) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data) + "\n"


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """What a file of lines says, without those that were left, or are being written, half."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        with suppress(ValueError):
            found += [json.loads(line)] if line.endswith("\n") else []
    return found


def _remove_empty(made: list[Path]) -> None:
    """Undo the file and the folders that `lock` made, when nothing came of the run."""
    with suppress(OSError):  # a folder that is no longer empty stays
        for path in made:
            path.rmdir() if path.is_dir() else path.unlink()


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV with these columns, and those that the first row has beyond."""
    found = list(rows)
    writer = csv.DictWriter(text := io.StringIO(), found[0] if found else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _integral(value: float) -> float | int:
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _plain(value: float | None) -> str:
    return "" if value is None else repr(_integral(value))
