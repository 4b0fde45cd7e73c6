"""A real search, small enough for tests: its plugin, its experiment, its command."""

import csv
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

import yaml
from conftest import EXPERIMENT, TOY

from nas.search.__main__ import main
from nas.search.executors import Completed
from nas.search.executors._worker import run

PARTS = '''

import itertools
import os
import signal
import time

from torch import nn

batches = itertools.count(1)


class HeldSplit:
    """Stops at this process's 12th batch of training for as long as there is a file $TOY_GATE."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def batch(self, indices):
        if len(indices) == 16 and next(batches) == 12:
            self._hold(os.environ.get("TOY_GATE", ""))
        return self.split.batch(indices)

    def _hold(self, gate):
        if os.path.exists(gate):
            open(gate + ".held", "w").close()
        while os.path.exists(gate):
            time.sleep(0.01)


@nas.register("dataset", "held")
class Held(Toy):
    """`toy`, whose training can be stopped from outside."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.splits["train"] = HeldSplit(self.splits["train"])


@nas.register("connector", "wired")
class Wired(nn.Module):
    """Sparse layers over all modalities; the search space owns every setting of it."""

    def __init__(self, dims, layers: int = 1) -> None:
        super().__init__()
        self.dims = list(dims)
        width = sum(dims)
        self.layers = nn.Sequential(
            *(nas.SparseLinear(width, width, {"ring": {"k": 2}}, segments=self.dims) for _ in range(layers))
        )

    def forward(self, features):
        return list(self.layers(torch.cat(list(features), 1)).split(self.dims, 1))


@nas.register("fusion", "moody")
class Moody(nn.Module):
    """The mean of the modalities, unless its mood is another."""

    def __init__(self, dims, mood: str = "good") -> None:
        super().__init__()
        self.mood, self.out_dim = mood, dims[0]
        self.linear = nn.Linear(dims[0], dims[0])

    def forward(self, features, present=None, return_gates=False):
        mean = self.linear(sum(features) / len(features))
        match self.mood:
            case "talkative":
                print("I am in the mood for a chat")
                os.system("echo and so is my shell")
            case "angry":
                raise ValueError("<b>out of my way</b> & away")
            case "blank":
                return mean * float("nan")
            case "greedy":
                raise MemoryError
            case "leaking":
                hoard = []
                while True:
                    hoard.append(b"x" * 20_000_000)
                    time.sleep(0.01)
            case "slow":
                time.sleep(600)
            case "leaving":
                os._exit(7)
            case "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
        return mean
'''

SEARCH = EXPERIMENT | {
    "data": "held",
    "space": EXPERIMENT["space"]
    | {
        "dim": {"choice": [4, 8, 16]},
        "connector": {"wired": {"layers": {"int": [1, 2]}}},
        "fusion": {
            "choice": {
                "concat": {},
                "moody": {"mood": {"choice": ["good", "talkative", "angry", "blank"]}},
            }
        },
    },
    "constraints": {"parameters": "<= 3000"},
    "search": {"sampler": {"tpe": {"startup": 8}}, "trials": 12, "seed": 18},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.02},
}
TRIALS = 13  # one of them is rejected, and costs none of the 12
DEADLINE_SECONDS = 120


class InThisProcess:
    """An executor that evaluates a job when it is waited for."""

    def __init__(self, evaluator):
        self.evaluator = evaluator
        self.jobs = []
        self.room = 1

    def submit(self, jobs):
        self.jobs += jobs
        self.room = 0

    def wait(self, seconds):
        self.messages = []
        run(self.evaluator, self.jobs[-1:], self)
        state, *details = self.messages[-1]
        assert state == "completed", details
        self.room = 1
        return [Completed(*details)]

    def send(self, message):
        self.messages.append(message)

    def recv(self):
        return False  # go on

    def close(self):
        pass


def write_search(folder: Path) -> Path:
    """Write the experiment and its plugin into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.py").write_text(TOY + PARTS)
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(SEARCH, sort_keys=False))
    return file


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def command(experiment: Path, run: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "nas.search", str(experiment), "--run-dir", str(run), *options]


def search(experiment: Path, run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in this process, which has imported all that it needs."""
    words, out, err = command(experiment, run, *options), io.StringIO(), io.StringIO()
    with patch.dict(os.environ, ENVIRONMENT), redirect_stdout(out), redirect_stderr(err):
        code = main(words[3:])
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def search_alone(experiment: Path, run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m nas.search` to its end."""
    return subprocess.run(
        command(experiment, run, *options),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@contextmanager
def held_search(experiment: Path, run: Path, *options: str):
    """A search in the middle of a trial, where it stays for as long as there is the file `gate`.

    It has a process group of its own, of which nothing is left at the end.
    """
    gate = experiment.parent / "gate"
    gate.touch()
    with subprocess.Popen(
        command(experiment, run, *options),
        env=ENVIRONMENT | {"TOY_GATE": str(gate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_until(gate.with_suffix(".held").exists, "a trial is held")
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition, what: str) -> None:
    """Wait for something to become true; fail at the deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.01)


def events(run: Path) -> list[dict]:
    file = run / "events.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def workers(driver: int) -> list[int]:
    """Process ids of a driver's workers."""
    listed = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    return [int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


def rows(run: Path, name: str = "trials.csv") -> list[dict[str, str]]:
    with (run / name).open() as file:
        return list(csv.DictReader(file))


def results(run: Path) -> list[dict[str, str]]:
    """The rows of trials.csv without what no two runs share."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(run)]


def finished_search(base: Path) -> Path:
    """Make the search of the fixture of that name, once for all processes of a test session."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished_search"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stderr").exists():
            done = search_alone(write_search(folder), folder / "run")
            assert done.returncode == 0, done.stderr
            (folder / "stdout").write_text(done.stdout)
            (folder / "stderr").write_text(done.stderr)
    return folder
