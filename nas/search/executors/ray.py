"""`ray`: Ray Tune runs the trials, on this machine or on a cluster."""

import hashlib
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nas.errors import KeyPathError, disk_is_full
from nas.experiment import Experiment
from nas.search.executors import Job, Report

COUNT_EVERY_SECONDS = 5.0
CLOSE_SECONDS = 30.0
CONNECT_SECONDS = 5.0
PORT = 6379  # of a cluster, unless the address has another

# What Ray and Tune read as they are imported.
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",  # one copy of the dataset serves all workers of a node
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run directory is the log
    # All that is submitted, which is bounded here. By default one trial waits for its actor at a time, and
    # gets the actor of one that ends before its own is up: short trials would all share a single actor.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# Without clusters, as Ray calls it on other systems, all of its servers listen on 127.0.0.1 alone.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class RayExecutor:
    """Trials as those of Ray Tune, each on its share of a node's resources.

    Every actor takes the dataset from its node's object store, and is used again for the next trial.
    What a trial leaves in its folder comes back with its reports: the nodes need no common file system.

    Args:
        experiment: The experiment.
        dataset: Its dataset.
        storage: Where Tune keeps its own state, unless the experiment says; and what tells the run from
            others in one place.

    Raises:
        KeyPathError: The cluster or the storage cannot be reached, or no node can take a trial.
    """

    def __init__(self, experiment: Experiment, dataset: Any, storage: Path) -> None:
        self._execution = execution = experiment.execution
        workers = None if execution.workers == "auto" else int(execution.workers)
        self._asked = execution.max_concurrent or workers
        self._owns_ray, self.notice = _connect(execution.address)
        try:
            from nas.search.executors import _tune

            self._counted = time.monotonic()
            self._places = self._count_places()
            where = execution.storage or str(storage.resolve())
            name = f"{experiment.name}-{hashlib.sha256(str(storage.resolve()).encode()).hexdigest()[:8]}"
            kept = _tune.left_behind(where, name) if execution.checkpoint_every else {}
            self._desk = _tune.Desk(kept)
            self._tuner = self._open_tuner(experiment, dataset, where, name)
        except BaseException:
            self._leave()
            raise
        self._loop = threading.Thread(target=self._fit, name="tune", daemon=True)
        self._loop.start()

    def _open_tuner(self, experiment: Experiment, dataset: Any, where: str, name: str) -> Any:
        from nas.search.executors import _tune

        try:
            return _tune.tuner(self._desk, experiment, dataset, where, name)
        except (OSError, ValueError) as error:
            if disk_is_full(error):
                raise
            raise KeyPathError(("execution", "storage"), f"{where!r} cannot be written: {error}") from None

    @property
    def room(self) -> int:
        """How many groups it takes now: as many as the nodes have places for, or as was asked for.

        At least one waits for a place, whatever has become of the nodes.
        """
        if time.monotonic() - self._counted > COUNT_EVERY_SECONDS:
            self._counted = time.monotonic()
            self._places = max(1, _places(self._execution.cpus_per_trial, self._execution.gpus_per_trial))
        return max(0, (self._asked or self._places) - self._desk.taken)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand a group of jobs to Tune."""
        self._desk.submit(jobs)

    def wait(self, seconds: float) -> list[Report]:
        """What has happened, waiting for at most so long until something has."""
        reports = self._desk.wait(seconds)
        self._stop_overdue()
        if self._desk.error is not None and not reports:
            raise RuntimeError(f"Ray Tune has ended: {self._desk.error}") from self._desk.error
        return reports

    def answer(self, number: int, stop: bool) -> None:
        """Let a trial that has reported progress go on, or end as pruned."""
        self._desk.answer(number, stop)

    def close(self) -> None:
        """Stop all actors, and Ray where it was started here; running jobs are lost."""
        self._desk.close()
        for group in list(self._desk.groups):
            group.kill()
        self._loop.join(CLOSE_SECONDS)
        self._leave()

    def _fit(self) -> None:
        try:
            self._tuner.fit()
        except BaseException as error:
            self._desk.fail(error)

    def _stop_overdue(self) -> None:
        limit = self._execution.time_limit or math.inf
        for group in list(self._desk.groups):
            if group.started is not None and time.monotonic() - group.started > limit * group.size:
                group.overdue = True
                group.kill()

    def _count_places(self) -> int:
        cpus, gpus = self._execution.cpus_per_trial, self._execution.gpus_per_trial
        places = _places(cpus, gpus)
        grows = self._execution.max_concurrent and self._execution.address != "local"
        if not places and not grows:
            raise KeyPathError(
                ("execution",),
                f"no node has {cpus:g} CPUs and {gpus:g} GPUs for a trial; lower cpus_per_trial or "
                "gpus_per_trial, or give max_concurrent where nodes will be added to a cluster",
            )
        return places

    def _leave(self) -> None:
        import ray

        if self._owns_ray:
            ray.shutdown()


def settle(address: str) -> None:
    """Settle how Ray behaves in this process and in those that it starts, before it is imported.

    Args:
        address: As `execution.address` of an experiment.
    """
    settings = SETTINGS | (LOOPBACK if address == "local" else {})
    os.environ.update({name: os.environ.get(name, value) for name, value in settings.items()})
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _connect(address: str) -> tuple[bool, str | None]:
    """Connect to a cluster, or start Ray on this machine: whether that was done here, and its dashboard."""
    settle(address)
    import ray

    if ray.is_initialized():
        return False, None
    try:
        where = _answering(address)
        context = ray.init(where, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, ValueError, RuntimeError) as error:
        if "Could not find any running Ray instance" in str(error):
            error = ValueError("none runs on this machine; start one (`ray start --head`), or give HOST:PORT")
        answered = isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)
        token = "; set RAY_AUTH_MODE=token here too where the cluster has a token" if answered else ""
        raise KeyPathError(
            ("execution", "address"), f"{address!r} is no Ray cluster: {error}{token}"
        ) from None
    _hide_token()
    return True, _notice(context.dashboard_url)


def _hide_token() -> None:
    """Ray writes its token for all of the machine to read, and whoever has it may run code."""
    with suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


def _notice(dashboard: str | None) -> str | None:
    """Where Ray's dashboard is, if there is one, and what it asks for."""
    asks = os.environ.get("RAY_AUTH_MODE") == "token"
    token = "; it asks for the token that `ray get-auth-token` prints" if asks else ""
    return f"Ray's dashboard: http://{dashboard}{token}" if dashboard else None


def _answering(address: str) -> str:
    """The address with its port, where something answers; Ray itself takes more than a minute to find out.

    Raises:
        OSError: Nothing answers there.
        ValueError: It is no address.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)  # as Ray does, but see whether it answers
    if address in ("local", "auto"):
        return address
    parts = urlsplit(f"//{address}")
    if not parts.hostname or "://" in address:
        raise ValueError("give local, auto, HOST or HOST:PORT")
    host, port = parts.hostname, parts.port or PORT
    socket.create_connection((host, port), CONNECT_SECONDS).close()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _places(cpus: float, gpus: float) -> int:
    """How many trials the nodes can run at a time; a trial has its resources on one node."""
    import ray

    needs = {kind: amount for kind, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) / amount) for kind, amount in needs.items()) for node in nodes)
