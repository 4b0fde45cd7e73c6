"""A worker process: loads the dataset once, then evaluates one job after another."""

import errno
import gc
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import TrialError, disk_is_full
from nas.search.executors import CHECKPOINT, METRICS, Completed, Failed, Job, Measured, Progress, Report

if TYPE_CHECKING:
    from nas.evaluation import Evaluation, Evaluator, Trial


TOO_LARGE = 77  # exit code of a worker that has taken more memory than it may
WATCH_SECONDS = 0.1


@dataclass(frozen=True)
class Share:
    """What one worker may use of the machine.

    Args:
        threads: Threads of the processor.
        gpu: Index or UUID of a GPU; None for none.
    """

    threads: int
    gpu: str | None = None


def work(
    connection: Connection,
    experiment: Mapping[str, Any],
    share: Share,
    log: Path,
    memory_limit: float | None = None,
) -> None:
    """Serve groups of jobs from a connection until it closes: the entry point of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the driver, which decides
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    _redirect_output(log)
    if share.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu
    watch_memory(memory_limit, lambda: os._exit(TOO_LARGE))
    evaluator = prepare(experiment, share.threads, "cpu" if share.gpu is None else "cuda")
    connection.send(("ready",))
    while True:
        try:
            jobs: Sequence[Job] = connection.recv()
        except EOFError:
            return
        run(evaluator, jobs, connection)


def prepare(data: Mapping[str, Any], threads: int, device: str, dataset: Any = None) -> "Evaluator":
    """Make this process ready to evaluate what an experiment searches.

    Args:
        data: The experiment's data.
        threads: Threads of the processor; `OMP_NUM_THREADS` may ask for fewer.
        device: Where networks are trained.
        dataset: The dataset, where it is at hand; loaded for None.
    """
    import torch

    from nas.datasets import load_dataset
    from nas.evaluation import Evaluator
    from nas.experiment import Experiment
    from nas.registry import require_plugins

    torch.set_num_threads(_allowed(threads))
    experiment = Experiment.model_validate(data)
    if dataset is None:
        require_plugins(experiment.plugins)
        [(name, options)] = experiment.data.items()
        dataset = load_dataset(name, **options)
    objectives = list(experiment.objectives)
    training, constraints = experiment.training, experiment.constraints
    every = experiment.execution.checkpoint_every
    return Evaluator(dataset, objectives, training, constraints, device, experiment.validation, every)


def _allowed(threads: int) -> int:
    """The threads of a worker's share, or fewer where the person has said so, as OpenMP reads it."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(threads, int(asked)) if asked.isdigit() and int(asked) else threads


def run(evaluator: "Evaluator", jobs: Sequence[Job], connection: Connection) -> None:
    """Evaluate the jobs of a group; each sends its messages, of which the last one closes it."""
    connection.send(("started", [job.number for job in jobs]))
    _evaluate(evaluator, jobs, connection)
    _free_memory()  # here, where nothing holds a network any more


def _evaluate(evaluator: "Evaluator", jobs: Sequence[Job], connection: Connection) -> None:
    numbers = [job.number for job in jobs]
    try:
        with ExitStack() as files:
            trials = [_trial(evaluator, job, connection, files) for job in jobs]
            for place, outcome, seconds in evaluator.together(trials):
                connection.send(_closing(jobs[place], outcome, seconds))
                numbers.remove(jobs[place].number)
    except OSError as error:
        if not disk_is_full(error):
            raise
        for number in numbers:
            connection.send(("failed", number, TrialError("disk_full", str(error)), 0.0))


def _free_memory() -> None:
    """Give back what the job no longer needs, so that other workers of the GPU have it."""
    import torch

    if torch.cuda.is_initialized():
        gc.collect()  # an error's traceback keeps its network alive
        torch.cuda.empty_cache()


def watch_memory(limit: float | None, exceeded: Callable[[], None]) -> None:
    """Call `exceeded`, once, when this process takes more memory than it may.

    Args:
        limit: In GB; None for no limit.
        exceeded: Called in a thread of its own.
    """

    if limit is None:
        return

    def watch(limit: float) -> None:
        while _resident_gigabytes() <= limit:
            time.sleep(WATCH_SECONDS)
        exceeded()

    threading.Thread(target=watch, args=(limit,), daemon=True).start()


def _resident_gigabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _trial(evaluator: "Evaluator", job: Job, connection: Connection, files: ExitStack) -> "Trial":
    """What a job asks for, with its reports."""
    from nas.evaluation import Trial

    job.folder.mkdir(parents=True, exist_ok=True)
    epochs = evaluator.settings(job.architecture).epochs
    file = files.enter_context((job.folder / METRICS).open("w", encoding="utf-8"))

    def on_measured(values: Mapping[str, float]) -> None:
        connection.send(("measured", job.number, dict(values)))

    def on_epoch(metrics: dict[str, Any]) -> None:
        file.write(json.dumps(_finite(metrics)) + "\n")
        file.flush()
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
        waits = numbers["epoch"] < epochs
        connection.send(("epoch", job.number, numbers, waits))
        if waits and connection.recv():
            raise TrialError("pruned", f"stopped after epoch {numbers['epoch']}")

    kept = job.folder / CHECKPOINT
    return Trial(job.architecture, job.seed, on_epoch, on_measured, job.ancestor, job.fold, kept)


def _closing(job: Job, outcome: "Evaluation | TrialError", seconds: float) -> tuple[Any, ...]:
    """The closing message of a job, whose weights are saved before."""
    (job.folder / CHECKPOINT).unlink(missing_ok=True)
    if isinstance(outcome, TrialError):
        return "failed", job.number, _with_traceback(outcome, job.folder), seconds
    _save(outcome, job.folder / "weights.safetensors")
    return "completed", job.number, dict(outcome.values), outcome.seconds, outcome.wiring


def report(message: tuple[Any, ...]) -> Report | None:
    """What a message of `run` reports to the driver; None where that is nothing."""
    match message:
        case ("started", _):
            return None
        case ("measured", number, values):
            return Measured(number, values)
        case ("epoch", number, metrics, waits):
            return Progress(number, metrics, waits)
        case ("completed", number, values, seconds, wiring):
            return Completed(number, values, seconds, wiring)
        case ("failed", number, error, seconds):
            return Failed(number, error, seconds)
    raise ValueError(f"a worker sent {message!r}")


def _finite(value: Any) -> Any:
    """The value with None for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _save(evaluation: "Evaluation", file: Path) -> None:
    from safetensors.torch import save

    from nas.results.run_directory import write_atomically

    state = evaluation.network.state_dict()
    write_atomically(file, save({name: value.contiguous().cpu() for name, value in state.items()}))


def _with_traceback(error: TrialError, folder: Path) -> TrialError:
    """Leave the traceback of a component's own error beside the trial, and say where.

    What is returned has no traceback of its own, which would keep the network alive.
    """
    if error.kind != "error":
        return TrialError(error.kind, error.message)
    if disk_is_full(error):
        raise OSError(errno.ENOSPC, error.message) from error
    file = folder / "error.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return TrialError(error.kind, f"{error.message} (traceback in {file})")


def _die_with_the_driver() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _redirect_output(log: Path) -> None:
    """Whatever components print goes to a file, not into the driver's display."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
