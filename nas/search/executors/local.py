"""`local`: persistent worker processes on this machine."""

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from nas.errors import KeyPathError, TrialError
from nas.search.executors import Failed, Job, Report
from nas.search.executors._worker import TOO_LARGE, Share, report, work

START_ATTEMPTS = 3
LEAST_SECONDS = 5.0  # that a ready worker has to begin, on a busy machine too


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    share: Share
    time_limit: float
    ready: bool = False
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    started: float = 0.0
    limit: float = math.inf
    killed: bool = False
    sent: bool = False

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def alone(self) -> bool:
        """Whether nothing else may run on its device."""
        return any(job.alone for job in [*self.waiting, *self.running])

    @property
    def overdue(self) -> bool:
        """Whether it has taken too long over its jobs, or to begin them once it was ready."""
        works = self.running or (self.sent and self.ready)
        return bool(works) and time.perf_counter() - self.started > self.limit

    def start(self, numbers: Sequence[int]) -> None:
        """These jobs have begun; together they may take as long as one after another."""
        self.running = [job for job in self.waiting if job.number in numbers]
        self.waiting = [job for job in self.waiting if job.number not in numbers]
        self.set_clock(self.time_limit * len(self.running))

    def set_clock(self, limit: float) -> None:
        """Give it so many seconds from now on."""
        self.started, self.limit = time.perf_counter(), limit

    def expect_start(self) -> None:
        """Give it the time of a job to begin what it is sent, which takes a moment unless it hangs."""
        self.set_clock(max(self.time_limit, LEAST_SECONDS))

    def end(self, number: int) -> None:
        self.running = [job for job in self.running if job.number != number]
        self.sent = not self.idle


class LocalExecutor:
    """Worker processes, each with its share of the cores or with a GPU.

    The dataset is loaded once per worker. A worker that dies is replaced, and the trials that it was
    running fail; so does one that takes too long over them. What it had not begun goes to the new one.

    Args:
        experiment: The experiment's data, as every worker needs it.
        shares: What each worker may use.
        log: File that receives whatever the workers print.
        time_limit: Seconds that a trial may take; None for no limit.
        memory_limit: Memory that a worker may take, in GB; None for no limit.
    """

    notice: str | None = None

    def __init__(
        self,
        experiment: Mapping[str, Any],
        shares: list[Share],
        log: Path,
        time_limit: float | None = None,
        memory_limit: float | None = None,
    ) -> None:
        self._experiment = experiment
        self._log = log
        self._time_limit = math.inf if time_limit is None else time_limit
        self._memory_limit = memory_limit
        self._deaths_at_start = 0
        self._workers = [self._spawn(share) for share in shares]

    @property
    def room(self) -> int:
        """Workers without a job; one that is still loading counts, and takes its jobs when ready."""
        return len(self._free())

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand a group of jobs to an idle worker, one that is ready if there is any."""
        worker = min(self._free(), key=lambda worker: not worker.ready)
        worker.waiting = list(jobs)
        self._send()

    def _free(self) -> list[_Worker]:
        return [
            worker
            for worker in self._workers
            if worker.idle and not any(other.alone for other in self._neighbours(worker))
        ]

    def _neighbours(self, worker: _Worker) -> list[_Worker]:
        """The other workers on its GPU; without GPUs all of them, who share the machine's memory."""
        return [
            other for other in self._workers if other is not worker and other.share.gpu == worker.share.gpu
        ]

    def _send(self) -> None:
        """Send what waits to its worker, once that may begin."""
        for worker in self._workers:
            busy = worker.alone and not all(other.idle for other in self._neighbours(worker))
            if worker.waiting and not worker.sent and not busy:
                worker.sent = True
                worker.expect_start()
                with suppress(OSError):  # it has just died: `wait` finds out and reports
                    worker.connection.send(worker.waiting)

    def wait(self, seconds: float) -> list[Report]:
        """What has happened, waiting for at most so long until something has."""
        waiting: dict[Any, _Worker] = {}
        for worker in self._workers:
            waiting[worker.connection] = waiting[worker.process.sentinel] = worker
        ready = wait(list(waiting), timeout=seconds)
        reports: list[Report] = []
        for worker in {id(waiting[item]): waiting[item] for item in ready}.values():
            reports += self._receive(worker)
        for worker in [worker for worker in self._workers if worker.overdue]:
            worker.killed = True
            worker.process.kill()
            worker.process.join()
            reports += self._receive(worker)  # it may have ended in time, and have been killed idle
        self._send()
        return reports

    def answer(self, number: int, stop: bool) -> None:
        """Let a trial that has reported progress go on, or end as pruned."""
        for worker in self._workers:
            if any(job.number == number for job in worker.running):
                with suppress(OSError):  # it has just died: `wait` finds out and reports
                    worker.connection.send(stop)

    def close(self) -> None:
        """Stop all workers; running jobs are lost."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=2)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _receive(self, worker: _Worker) -> list[Report]:
        reports = []
        try:
            while worker.connection.poll():
                report = self._report(worker, worker.connection.recv())
                reports += [report] if report else []
        except (EOFError, OSError):
            worker.process.join(timeout=5)
        if not worker.process.is_alive():
            reports += self._replace(worker)
        return reports

    def _report(self, worker: _Worker, message: tuple[Any, ...]) -> Report | None:
        match message:
            case ("ready",):
                worker.ready = True
                worker.expect_start()
                self._deaths_at_start = 0
                return None
            case ("started", numbers):
                worker.start(numbers)
                return None
            case ("completed" | "failed", number, *_):
                worker.end(number)
        return report(message)

    def _replace(self, worker: _Worker) -> list[Report]:
        """Put a new worker in the place of a dead one; the jobs that it had begun have failed."""
        cause = _cause(worker.process.exitcode)
        worker.connection.close()
        replacement = self._spawn(worker.share)
        self._workers[self._workers.index(worker)] = replacement
        if not worker.ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= START_ATTEMPTS:
                if worker.process.exitcode == TOO_LARGE:
                    raise KeyPathError(
                        ("execution", "memory_limit"),
                        f"workers take more than {self._memory_limit:g} GB before any trial; raise it",
                    )
                raise RuntimeError(f"workers die before they are ready ({cause}); see {self._log}")
        replacement.waiting = worker.waiting
        error = TrialError("lost_worker", f"the worker process died: {cause}")
        if worker.killed:
            error = TrialError("time_limit", f"it took longer than {worker.limit:g} seconds")
        if worker.process.exitcode == TOO_LARGE:
            error = TrialError("out_of_memory", f"its worker took more than {self._memory_limit:g} GB")
        seconds = time.perf_counter() - worker.started
        return [Failed(job.number, error, seconds) for job in worker.running]

    def _spawn(self, share: Share) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._experiment, share, self._log, self._memory_limit)
        process = context.Process(target=work, args=arguments, daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        return _Worker(process, ours, share, self._time_limit)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started meanwhile never see a Ctrl-C, which goes to the driver alone to decide on."""
    resource_tracker.ensure_running()  # it would be started with the process, and undo the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def shares(
    workers: int | str, workers_per_gpu: int = 1, devices: Sequence[str] | str = "auto"
) -> list[Share]:
    """Divide this machine among workers: its GPUs where there are any, else the cores.

    Args:
        workers: Number of workers; `auto` is `workers_per_gpu` for every GPU, or one per core without a GPU.
        workers_per_gpu: Workers that share a GPU.
        devices: Index, among those that are visible, or UUID of the GPUs to use; `auto` takes all.

    Raises:
        KeyPathError: One of the devices cannot be a GPU of this machine.
    """
    gpus = _visible_gpus() if isinstance(devices, str) else _chosen_gpus(devices)
    cores = len(os.sched_getaffinity(0))
    count = (len(gpus) * workers_per_gpu or cores) if workers == "auto" else int(workers)
    threads = max(1, cores // count)
    return [Share(threads, gpus[index % len(gpus)] if gpus else None) for index in range(count)]


def _visible_gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return [name.strip() for name in visible.split(",")]
    return [str(index) for index in range(torch.cuda.device_count())]


def _chosen_gpus(devices: Sequence[str]) -> list[str]:
    """What CUDA calls the GPUs of an experiment, whose indices count those that this process may use."""
    visible = _visible_gpus()
    allowed = (
        f"give an index below {len(visible)}, a UUID as nvidia-smi -L prints it (GPU-… or MIG-…), or auto"
    )
    chosen = []
    for place, device in enumerate(devices):
        path = ("execution", "devices", str(place))
        if not visible:
            raise KeyPathError(path, f"{device!r} is no GPU: torch sees none here; leave devices out")
        known = int(device) < len(visible) if device.isdecimal() else device.startswith(("GPU-", "MIG-"))
        if not known:
            raise KeyPathError(path, f"{device!r} is no GPU of this machine; {allowed}")
        chosen.append(visible[int(device)] if device.isdecimal() else device)
    return chosen


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"it exited with code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"it was killed by {name}{hint}"
