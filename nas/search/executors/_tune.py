"""Ray Tune's side of the `ray` executor: what it searches, what it asks, and what it runs.

Tune has a loop of its own, in a thread of its own. A `Desk` stands between that loop and the driver:
the searcher suggests what the driver has submitted, and the scheduler hands over what the trials
report and waits for the driver's answers. Nothing is decided on this side.
"""

import math
import queue
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from pyarrow.fs import FileSelector, FileSystem
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas.errors import KeyPathError, TrialError
from nas.experiment import Experiment
from nas.registry import import_plugin, load_entry_points, plugin_files
from nas.results.run_directory import write_atomically
from nas.search.executors import CHECKPOINT, METRICS, Completed, Failed, Job, Progress, Report
from nas.search.executors._worker import prepare, report, run, watch_memory

Files = Mapping[str, bytes]
NOTHING: Mapping[Any, Any] = MappingProxyType({})

STATE = re.compile(r"/checkpoint_\d+/\d+$")


@dataclass
class Group:
    """Jobs that one trial of Tune runs, and how far it is.

    Args:
        jobs: Those that have not ended.
        trial: Tune's trial, once there is one.
        started: When its actor began, on the clock of this process; None before that.
        overdue: Whether it has taken too long, and been killed.
        begun: Numbers of the jobs that have begun.
        answers: What the driver has answered, by number.
    """

    jobs: list[Job]
    trial: Trial | None = None
    started: float | None = None
    overdue: bool = False
    begun: set[int] = field(default_factory=set)
    answers: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = len(self.jobs)

    @property
    def actor(self) -> Any:
        """The actor that runs the group, if there is one."""
        return self.trial and self.trial.temporary_state.ray_actor

    def kill(self) -> None:
        """End the actor that runs the group, if there is one."""
        if self.actor:
            ray.kill(self.actor)


class Desk:
    """Where the driver and Tune's loop meet: each works while the other waits.

    Args:
        kept: By number, what Tune has of trials whose actor has died.
    """

    def __init__(self, kept: Mapping[int, tune.Checkpoint] = NOTHING) -> None:
        self.changed = threading.Condition()
        self.groups: list[Group] = []
        self.submitted: list[Group] = []
        self.reports: list[Report] = []
        self.taken = 0  # places of groups, until the driver has heard how they ended
        self.kept: dict[int, tune.Checkpoint | None] = dict(kept)
        self.driver_rests = False
        self.closed = False
        self.error: BaseException | None = None

    def __reduce__(self) -> tuple[type["Desk"], tuple[()]]:
        return Desk, ()  # Tune stores what it is given, but the study is what a search resumes from

    # The driver's side

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take a group of jobs, for Tune to fetch."""
        with self.changed:
            group = Group(list(jobs))
            self.groups.append(group)
            self.submitted.append(group)
            self.taken += 1
            self.changed.notify_all()

    def wait(self, seconds: float) -> list[Report]:
        """What has been reported, waiting for at most so long."""
        with self.changed:
            self.driver_rests = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.reports or self.error, seconds)
            self.driver_rests = False
            self.taken = len(self.groups)
            reports, self.reports = self.reports, []
            return reports

    def answer(self, number: int, stop: bool) -> None:
        """Answer a trial that waits."""
        with self.changed:
            self.group(number).answers[number] = stop
            self.changed.notify_all()

    def close(self) -> None:
        """Nothing is submitted or answered any more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    # Tune's side

    def fetch(self) -> Group | None:
        """The next group to run; waits until the driver has seen to all reports, or while nothing runs."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self._settled())
            return self.submitted.pop(0) if self.submitted and not self.closed else None

    def _settled(self) -> bool:
        runs = len(self.groups) > len(self.submitted)
        return bool(self.submitted) or (runs and self.driver_rests and not self.reports)

    def report(self, *reports: Report) -> None:
        """Hand reports to the driver."""
        with self.changed:
            self.reports += reports
            self.changed.notify_all()

    def answers(self, group: Group, numbers: Sequence[int]) -> list[bool]:
        """The driver's answers to jobs of a group, once they are there: whether each is to stop."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or group.answers.keys() >= set(numbers))
            return [group.answers.pop(number, True) for number in numbers]

    def fail(self, error: BaseException) -> None:
        """Tune's loop has ended with an error."""
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def end(self, group: Group, *reports: Report) -> None:
        """A group has ended, as the reports say; the jobs in it that had not begun are run again."""
        with self.changed:
            self.groups.remove(group)
            self.report(*reports)
            if rest := [job for job in group.jobs if job.number not in group.begun]:
                self.submit(rest)

    def group(self, number: int) -> Group:
        """The group of a job."""
        return next(group for group in self.groups if any(job.number == number for job in group.jobs))


class StudySearcher(Searcher):
    """Suggests what the study has been asked for, and the driver has submitted."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def suggest(self, trial_id: str) -> Any:
        """The next group; None while there is none, and FINISHED when there will be no more."""
        group = self.desk.fetch()
        if self.desk.closed:
            return Searcher.FINISHED
        if group is None:
            return None
        names = "-".join(str(job.number) for job in group.jobs)
        alone = any(job.alone for job in group.jobs)
        kept = {job.number: self.desk.kept.pop(job.number, None) for job in group.jobs}
        return {"trials": names, "group": ray.put(_pack(group.jobs)), "alone": alone, "checkpoints": kept}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler has reported it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class StudyScheduler(FIFOScheduler):
    """Reports what trials have done, and has the study's pruner decide whether they go on."""

    _supports_buffered_results = False

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def on_trial_add(self, controller: Any, trial: Trial) -> None:
        """Remember which trial of Tune runs a group."""
        numbers = [int(number) for number in trial.config["trials"].split("-")]
        self.desk.group(numbers[0]).trial = trial

    def choose_trial_to_run(self, controller: Any) -> Trial | None:
        """The next trial that waits; of the live ones alone, since there may be thousands of others."""
        pending = [trial for trial in controller.get_live_trials() if trial.status == Trial.PENDING]
        return pending[0] if pending else None

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Report, answer, and go on until the group has ended."""
        group = self._group(trial)
        messages, files = result["report"]
        result["report"].clear()  # Tune keeps every trial's last result
        self._receive(group, files)
        reports = [noted for message in messages if (noted := report(message))]
        ended = [one.number for one in reports if isinstance(one, Completed | Failed)]
        group.begun |= {number for kind, numbers, *_ in messages if kind == "started" for number in numbers}
        group.jobs = [job for job in group.jobs if job.number not in ended]
        if group.jobs:
            self.desk.report(*reports)
        else:
            self.desk.end(group, *reports)
        waiting = [one.number for one in reports if isinstance(one, Progress) and one.waits]
        if waiting:
            group.actor.answer.remote(self.desk.answers(group, waiting))
        return TrialScheduler.CONTINUE if group.jobs else TrialScheduler.STOP

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        """The actor has died: what it had begun has failed."""
        group = self._group(trial)
        seconds = 0.0 if group.started is None else time.monotonic() - group.started
        error = _cause(trial)
        if group.overdue:
            error = TrialError("time_limit", f"it took longer than {seconds:.1f} seconds")
        lost = [job.number for job in group.jobs if job.number in group.begun] or [group.jobs[0].number]
        group.begun |= set(lost)  # no message tells of what has begun since the last step
        self.desk.kept |= dict.fromkeys(lost, trial.checkpoint)
        self.desk.end(group, *(Failed(number, error, seconds) for number in lost))

    def _group(self, trial: Trial) -> Group:
        return next(group for group in self.desk.groups if group.trial is trial)

    def _receive(self, group: Group, files: Mapping[int, Files]) -> None:
        folders = {job.number: job.folder for job in group.jobs}
        for number, contents in files.items():
            for name, content in contents.items():
                # The metrics come with every epoch, and Tune's loop waits for no disk.
                write_atomically(folders[number] / name, content, durable=name != METRICS)


class Clock(tune.Callback):
    """Notes when the actor of a group begins, from where its time limit counts."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Start the clock of the trial's group."""
        for group in self.desk.groups:
            if group.trial is trial:
                group.started = time.monotonic()


class Closed(tune.Stopper):
    """Ends Tune's loop when the executor is closed."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped on its own."""
        return False

    def stop_all(self) -> bool:
        """Whether all is over."""
        return self.desk.closed


class _Line:
    """The worker's end of a connection that is emptied step by step.

    A step ends when the worker waits for an answer, or has nothing more to do.
    """

    def __init__(self) -> None:
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def send(self, message: tuple[Any, ...]) -> None:
        self._out.put(message)

    def recv(self) -> bool:
        try:
            return self._in.get_nowait()
        except queue.Empty:
            self._out.put(None)
            return self._in.get()

    def end(self, error: BaseException | None) -> None:
        self._out.put(error)

    def answer(self, stops: Sequence[bool]) -> None:
        for stop in stops:
            self._in.put(stop)

    def step(self) -> list[tuple[Any, ...]]:
        """The messages up to where the worker waits or ends; what it ended with is raised."""
        messages = []
        while (message := self._out.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            messages.append(message)
        return messages


class Trials(tune.Trainable):
    """An actor that loads the dataset once, then evaluates one group after another.

    What is written into the folders of the jobs is sent along with the messages, so that the machine
    need not share a file system with the driver's.
    """

    _line: _Line
    _kept: dict[Path, int]

    def setup(self, config: dict[str, Any], *, parts: Mapping[str, Any] = NOTHING) -> None:
        """Prepare the evaluator, then begin with the first group."""
        self._folder = Path(tempfile.mkdtemp(dir=self.logdir))
        _import_plugins(parts["plugins"], self._folder / "plugins")
        dataset = ray.get(parts["dataset"])  # after its plugin, of which its class may be
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        self._evaluator = prepare(parts["experiment"], parts["threads"], device, dataset)
        self._begin(config)
        watch_memory(parts["memory_limit"], lambda: self._line.end(_too_large(parts["memory_limit"])))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with another group."""
        self._begin(new_config)
        return True

    def answer(self, stops: Sequence[bool]) -> None:
        """Answer the jobs that wait, in their order, before the next step."""
        self._line.answer(stops)

    def step(self) -> dict[str, Any]:
        """Work until an answer is needed or the group has ended."""
        messages = [self._localised(message) for message in self._line.step()]
        kept = {file: file.stat().st_mtime_ns for file in self._checkpoints()}
        due, self._kept = kept.keys() and kept != self._kept, kept
        return {"report": [messages, self._news()], SHOULD_CHECKPOINT: bool(due)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Hand Tune the states that jobs have kept, by number."""
        for file in self._checkpoints():
            with suppress(FileNotFoundError):  # the job has ended meanwhile
                shutil.copy(file, Path(checkpoint_dir) / file.parent.name)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a group says itself from where it goes on."""

    def _checkpoints(self) -> list[Path]:
        return [file for job in self._jobs if (file := self._trial(job.number) / CHECKPOINT).exists()]

    def cleanup(self) -> None:
        """Leave nothing on the machine."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, config: dict[str, Any]) -> None:
        shutil.rmtree(self._folder / "trials", ignore_errors=True)
        self._jobs, ancestors = ray.get(config["group"])
        self._kept = {}
        for number, checkpoint in config["checkpoints"].items():
            if checkpoint is not None:
                with checkpoint.as_directory() as folder:
                    if (file := Path(folder) / str(number)).exists():
                        write_atomically(self._trial(number) / CHECKPOINT, file.read_bytes())
        self._sent: dict[Path, tuple[int, int]] = {}
        for number, files in ancestors.items():
            _write(files, self._folder / "ancestors" / str(number))
        jobs = [
            replace(job, folder=self._trial(job.number), ancestor=self._ancestor(job)) for job in self._jobs
        ]
        self._line = _Line()
        threading.Thread(target=_work, args=(self._evaluator, jobs, self._line), daemon=True).start()

    def _trial(self, number: int) -> Path:
        return self._folder / "trials" / str(number)

    def _ancestor(self, job: Job) -> Path | None:
        return None if job.ancestor is None else self._folder / "ancestors" / str(job.number)

    def _localised(self, message: tuple[Any, ...]) -> tuple[Any, ...]:
        """The message with the folder that the driver knows, where an error names one."""
        match message:
            case ("failed", number, error, seconds):
                [folder] = [job.folder for job in self._jobs if job.number == number]
                text = error.message.replace(str(self._trial(number)), str(folder))
                return "failed", number, TrialError(error.kind, text), seconds
        return message

    def _news(self) -> Mapping[int, Files]:
        """The files of the jobs that have changed since the last step."""
        news: dict[int, dict[str, bytes]] = {}
        for job in self._jobs:
            for file in self._trial(job.number).glob("[!.]*"):
                state = (file.stat().st_mtime_ns, file.stat().st_size)
                if self._sent.get(file) != state:
                    self._sent[file] = state
                    news.setdefault(job.number, {})[file.name] = file.read_bytes()
        return news


def left_behind(storage: str, name: str) -> dict[int, tune.Checkpoint]:
    """By number, the newest states of trials that earlier sessions of a run have left in a storage.

    Args:
        storage: Folder or URL.
        name: What the run is called there.

    Raises:
        KeyPathError: The storage cannot be read.
    """
    try:
        filesystem, folder = FileSystem.from_uri(storage)
        run = FileSelector(f"{folder}/{name}", allow_not_found=True, recursive=True)
        files = filesystem.get_file_info(run)
    except (OSError, ValueError) as error:
        raise KeyPathError(("execution", "storage"), f"{storage!r} cannot be read: {error}") from None
    states = [file for file in files if STATE.search(file.path)]
    return {
        int(file.base_name): tune.Checkpoint(file.path.rpartition("/")[0], filesystem)
        for file in sorted(states, key=lambda file: file.mtime_ns)
    }


def tuner(desk: Desk, experiment: Experiment, dataset: Any, storage: str, name: str) -> tune.Tuner:
    """Tune's search of an experiment, for as long as the desk is open.

    Args:
        desk: Where it meets the driver.
        experiment: The experiment.
        dataset: Its dataset; goes into the object store.
        storage: Folder or URL where Tune keeps its state.
        name: What the run is called there.
    """
    execution = experiment.execution
    parts = {
        "experiment": experiment.to_data(),
        "plugins": {file: file.read_bytes() for file in plugin_files(experiment.plugins)},
        "dataset": _shared(dataset),
        "threads": max(1, int(execution.cpus_per_trial)),
        "memory_limit": execution.memory_limit,
    }

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        gpus = math.ceil(execution.gpus_per_trial) if config["alone"] else execution.gpus_per_trial
        return tune.PlacementGroupFactory([{"CPU": execution.cpus_per_trial, "GPU": gpus}])

    return tune.Tuner(
        tune.with_resources(tune.with_parameters(Trials, parts=parts), resources),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(desk),
            scheduler=StudyScheduler(desk),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"{experiment.name}-{trial.config['trials']}",
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            callbacks=[Clock(desk)],
            stop=Closed(desk),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=False),
            verbose=0,
        ),
    )


def _shared(dataset: Any) -> Any:
    """The dataset in the object store, whose tensors all workers of a node read in one place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Zero-copy tensor")  # that nobody may write into them is known
        return ray.put(dataset)


def _too_large(limit: float) -> TrialError:
    return TrialError("out_of_memory", f"its worker took more than {limit:g} GB")


def _work(evaluator: Any, jobs: Sequence[Job], line: Any) -> None:
    try:
        run(evaluator, jobs, line)
        line.end(None)
    except BaseException as error:
        line.end(error)


def _pack(jobs: Sequence[Job]) -> tuple[list[Job], Mapping[int, Files]]:
    """The jobs, and what the folders of their ancestors hold."""
    ancestors = {
        job.number: {file.name: file.read_bytes() for file in job.ancestor.glob("[!.]*")}
        for job in jobs
        if job.ancestor is not None
    }
    return list(jobs), ancestors


def _write(files: Files, folder: Path) -> None:
    for name, content in files.items():
        write_atomically(folder / name, content)


def _import_plugins(plugins: Mapping[Path, bytes], folder: Path) -> None:
    """Import the driver's plugins: from its own files where they are here too, else from copies."""
    load_entry_points()
    for number, (origin, source) in enumerate(plugins.items()):
        file = origin
        if not origin.exists() or origin.read_bytes() != source:
            file = folder / str(number) / origin.name
            write_atomically(file, source)
        import_plugin(file, origin)


def _cause(trial: Trial) -> TrialError:
    """Why an actor has died, from what Ray has noted of it."""
    if trial.pickled_error_file:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        if isinstance(getattr(error, "cause", None), TrialError):
            return error.cause
    text = Path(trial.error_file).read_text(encoding="utf-8")
    if "running low on memory" in text:
        return TrialError("out_of_memory", "its node ran low on memory, and Ray killed the worker")
    told = [line.strip() for line in text.splitlines() if line.strip()]
    last = told[-1].partition(" Some common causes")[0] if told else "Ray does not say why"
    return TrialError("lost_worker", f"the worker process died: {last}")
