"""What faults cost: processes killed, hung or leaking in the middle of a real search.

    python benchmarks/faults.py [--times 3] [--faults worker driver hang leak ray_actor ray_driver ray_node]

Every fault strikes while a trial runs, at a moment of its own. The search goes on by itself, or with
`--resume` after the driver was killed, and is compared with one that nothing has struck. One JSON line per
fault: the times tried, completed trials that were lost (or changed), how many searches ended with the
values of the undisturbed one, processes that were left, and seconds until the next trial had ended.
"""

import argparse
import csv
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from overhead import PLUGIN

TRIALS = 5
DEADLINE_SECONDS = 600

SLOW = (
    PLUGIN
    + '''

import os
import time
from pathlib import Path

class Slow(TensorSplit):
    """Takes its time, and leaks while there is a file `leak`, which it removes."""
    def batch(self, indices):
        time.sleep(0.05)
        leak = Path(os.environ["FAULTS"]) / "leak"
        if len(indices) == 4 and leak.exists():
            leak.unlink()
            hoard = []
            while True:
                hoard.append(b"x" * 20_000_000)
                time.sleep(0.01)
        return super().batch(indices)

@nas.register("dataset", "slow")
class SlowTiny(Tiny):
    """`tiny`, slowly."""
    def __init__(self):
        super().__init__()
        split = self.splits["train"]
        self.splits["train"] = Slow(split.inputs, split.labels)
'''
)
EXPERIMENT = """
name: faults
data: slow
plugins: [slow.py]
space: {dim: {int: [16, 32]}, fusion: {choice: [concat, gate, early]}, connector: none}
search: {sampler: random, trials: %d}
training: {epochs: 3, batch_size: 4}
execution: {workers: 1, retries: {lost_worker: 2, time_limit: 1}}
"""


class Search:
    """A search in a process of its own, and all that it has started."""

    def __init__(self, folder: Path, run: Path, *overrides: str, resume: bool = False) -> None:
        self.run = run
        command = [sys.executable, "-m", "nas.search", str(folder / "faults.yaml"), "--run-dir", str(run)]
        command += ["--resume"] if resume else []
        for override in overrides:
            command += ["--set", override]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"FAULTS": str(folder), "OMP_NUM_THREADS": "1"},
        )

    def told(self) -> dict[int, str]:
        """By number of the trial, when it was told."""
        file = self.run / "events.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        found = (json.loads(line) for line in lines if line.endswith("\n"))
        return {event["trial"]: event["time"] for event in found if event["event"] == "told"}

    def wait_for(self, trials: int) -> None:
        wait_until(lambda: len(self.told()) >= trials or self.process.poll() is not None)

    def started(self) -> dict[int, str]:
        """Process ids of all that it has started, and their command lines."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        found = {self.process.pid}
        for _ in range(5):
            found |= {pid for pid, parent in parents.items() if parent in found}
        return {pid: command_line(pid) for pid in found - {self.process.pid}}


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the search has not gone on")
        time.sleep(0.02)


def kill_worker(search: Search, folder: Path, which: str = "spawn_main", how: int = signal.SIGKILL) -> None:
    for pid, line in search.started().items():
        if which in line:
            os.kill(pid, how)


FAULTS: dict[str, tuple[tuple[str, ...], Callable[[Search, Path], Any]]] = {
    "worker": ((), kill_worker),
    "driver": ((), lambda search, folder: search.process.kill()),
    "hang": (
        ("execution.time_limit=20",),
        lambda search, folder: kill_worker(search, folder, how=signal.SIGSTOP),
    ),
    "leak": (("execution.memory_limit=1.5",), lambda search, folder: (folder / "leak").touch()),
    "ray_actor": (
        ("execution.backend=ray",),
        lambda search, folder: kill_worker(search, folder, "ray::Trials"),
    ),
    "ray_driver": (("execution.backend=ray",), lambda search, folder: search.process.kill()),
    "ray_node": (("execution.backend=ray",), lambda search, folder: None),
}


def strike(name: str, folder: Path, run: Path, expected: list[list[str]], moment: float) -> dict[str, Any]:
    overrides, fault = FAULTS[name]
    cluster, node = start_cluster() if name == "ray_node" else (None, None)
    if cluster is not None:
        overrides = (*overrides, f"execution.address={cluster.address}")
    search = Search(folder, run, *overrides)
    search.wait_for(2)
    time.sleep(moment)
    before, started, struck = search.told(), search.started(), time.monotonic()
    if cluster is not None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)
    else:
        fault(search, folder)
    if name.endswith("driver"):
        search.process.wait()
        wait_until(lambda: not any(map(alive, started)))
        search = Search(folder, run, *overrides, resume=True)
    search.wait_for(len(before) + 1)
    recovered = time.monotonic() - struck
    started |= search.started()
    assert search.process.wait(DEADLINE_SECONDS) == 0
    with suppress(TimeoutError):
        wait_until(lambda: not any(map(alive, started)))
    after = search.told()
    if cluster is not None:
        import ray

        ray.shutdown()
        cluster.shutdown()
    return {
        "lost": sum(after.get(trial) != when for trial, when in before.items()),
        "same": rows(run) == expected,
        "left": sum(map(alive, started)),
        "seconds": recovered,
    }


def start_cluster() -> tuple[Any, Any]:
    from nas.search.executors.ray import settle

    settle("local")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    return cluster, cluster.add_node(num_cpus=1)


def rows(run: Path) -> list[list[str]]:
    with (run / "trials.csv").open() as file:
        return [[value for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    arguments = parser.parse_args()
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FAULTS"] = name
        (folder / "slow.py").write_text(SLOW)
        (folder / "faults.yaml").write_text(EXPERIMENT % TRIALS)
        undisturbed = Search(folder, folder / "undisturbed")
        assert undisturbed.process.wait(DEADLINE_SECONDS) == 0
        expected = rows(folder / "undisturbed")
        for fault in arguments.faults:
            found = [
                strike(fault, folder, folder / f"{fault}{number}", expected, moments.random())
                for number in range(arguments.times)
            ]
            seconds = [one["seconds"] for one in found]
            line = {
                "fault": fault,
                "times": arguments.times,
                "trials_lost": sum(one["lost"] for one in found),
                "ended_as_undisturbed": sum(one["same"] for one in found),
                "processes_left": sum(one["left"] for one in found),
                "seconds_to_recover": round(statistics.median(seconds), 2),
                "spread": [round(min(seconds), 2), round(max(seconds), 2)],
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
