"""What faults cost: processes killed, hung or leaking in the middle of a real search.

    python benchmarks/faults.py [--times 3] [--faults worker population driver postgresql mariadb disk …]

Every fault strikes while a trial runs, at a moment of its own. The search goes on by itself, or by
`--resume` where the fault has ended it, and is compared with one that nothing has struck. One JSON
line per fault: the times tried, completed trials that were lost (or changed), how many searches ended
with the values of the undisturbed one, processes that were left, and seconds until the next trial had
ended.
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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from overhead import PLUGIN

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from databases import MariaDB, PostgreSQL, Server, started

TRIALS = 4
DEADLINE_SECONDS = 600
INTERRUPTED = 130  # exit code of a search that can be resumed
WORKER, ACTOR = "spawn_main", "ray::ResourceTrainable"  # in command lines

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
execution: {workers: 1, retries: {lost_worker: 2, time_limit: 2}}
"""


class Search:
    """A search in a process of its own, and all that it has started."""

    def __init__(self, folder: Path, run: Path, *overrides: str, resume: bool = False) -> None:
        self.folder, self.run = folder, run
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


def wait_until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the search has not gone on")
        time.sleep(0.02)


def kill(search: Search, which: str = WORKER, how: int = signal.SIGKILL) -> None:
    """Send a signal to the processes of a search whose command line says `which`."""
    struck = [pid for pid, line in search.started().items() if which in line]
    assert struck, f"no process {which} to kill"
    for pid in struck:
        os.kill(pid, how)


def lose_population(search: Search, which: str = WORKER) -> None:
    """The worker dies once all that it trains together have an epoch behind them."""
    wait_until(lambda: len(populations(search)) == TRIALS or search.process.poll() is not None)
    kill(search, which)


def populations(search: Search) -> list[int]:
    """The trials that train in a population now, with an epoch behind them."""
    found = []
    for file in search.run.glob("trials/*/metrics.jsonl"):
        number, lines = int(file.parent.name), file.read_text().splitlines(keepends=True)
        epochs = [json.loads(line) for line in lines if line.endswith("\n")]
        if epochs and epochs[0].get("population") == {"size": TRIALS} and number not in search.told():
            found.append(number)
    return found


def end(search: Search) -> None:
    """Kill the driver; what it has started has to end by itself, while the search is resumed."""
    search.process.kill()
    search.process.wait()


Surroundings = AbstractContextManager[tuple[Any, tuple[str, ...]]]


@contextmanager
def cluster(run: Path) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A Ray cluster whose head runs no trials, and how a search is told of it."""
    from nas.search.executors.ray import settle

    settle("local")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=1)
    try:
        yield cluster, ("execution.backend=ray", f"execution.address={cluster.address}")
    finally:
        ray.shutdown()
        cluster.shutdown()


def lose_node(search: Search, cluster: Any) -> None:
    """A node dies, and another one comes."""
    [node] = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)


@contextmanager
def database(kind: type[Server]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A server, and how a search is told of it."""
    with started(kind) as server:
        yield server, (f"search.storage={server.new_database()}", "search.lease=120")


def lose_database(search: Search, server: Any) -> None:
    """The server dies, and is there again a while later."""
    server.kill()
    time.sleep(3)
    server.start()


@contextmanager
def small_disk(run: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The run directory is on a disk of its own; needs the right to mount one."""
    disk = run.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32M", "nas", str(disk)], check=True)
    try:
        yield disk, ()
    finally:
        subprocess.run(["umount", disk], check=True)


def fill_disk(search: Search, disk: Path) -> None:
    """Nothing can be written any more until the search has ended."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert search.process.wait(DEADLINE_SECONDS) == INTERRUPTED
    filler.unlink()


@dataclass(frozen=True)
class Fault:
    """What happens to a search.

    Args:
        strikes: Lets it happen, to a search and to what is around it.
        overrides: What the experiment is told beside.
        changes: What the undisturbed search has to be told too, because it changes what is found.
        resumed: Whether the search ends by it, and is resumed.
        surroundings: What has to be around the search, and what it is told of that.
    """

    strikes: Callable[[Search, Any], Any]
    overrides: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    resumed: bool = False
    surroundings: Callable[[Path], Surroundings] = lambda run: nullcontext((None, ()))


RAY = ("execution.backend=ray", "execution.max_concurrent=1")
POPULATION = (
    *(f"training.population={TRIALS}", f"search.seeds={TRIALS}"),
    *(f"search.trials={2 * TRIALS}", "space.head=linear"),
)
KEPT = "execution.checkpoint_every=1"
FAULTS = {
    "worker": Fault(lambda search, _: kill(search)),
    "population": Fault(lambda search, _: lose_population(search), (KEPT,), POPULATION),
    "driver": Fault(lambda search, _: end(search), resumed=True),
    "postgresql": Fault(lose_database, surroundings=lambda run: database(PostgreSQL)),
    "mariadb": Fault(lose_database, surroundings=lambda run: database(MariaDB)),
    "disk": Fault(fill_disk, resumed=True, surroundings=small_disk),
    "hang": Fault(lambda search, _: kill(search, how=signal.SIGSTOP), ("execution.time_limit=30",)),
    "leak": Fault(
        lambda search, _: (search.folder / "leak").touch(),
        ("execution.memory_limit=1.5",),
    ),
    "ray_actor": Fault(lambda search, _: kill(search, ACTOR), RAY),
    "ray_population": Fault(lambda search, _: lose_population(search, ACTOR), (*RAY, KEPT), POPULATION),
    "ray_driver": Fault(lambda search, _: end(search), RAY, resumed=True),
    "ray_node": Fault(lose_node, surroundings=cluster),
}


def strike(fault: Fault, folder: Path, run: Path, expected: list[list[str]], moment: float) -> dict[str, Any]:
    """Let a fault happen to a search, `moment` seconds after the first trial has ended."""
    run.parent.mkdir()
    with fault.surroundings(run) as (around, told):
        told = (*fault.overrides, *fault.changes, *told)
        search = Search(folder, run, *told)
        search.wait_for(1)
        time.sleep(moment)
        before, started, struck = search.told(), search.started(), time.monotonic()
        fault.strikes(search, around)
        if fault.resumed:
            search = Search(folder, run, *told, resume=True)
        search.wait_for(len(before) + 1)
        recovered = time.monotonic() - struck
        started |= search.started()
        assert search.process.wait(DEADLINE_SECONDS) == 0
        with suppress(TimeoutError):
            wait_until(lambda: not any(map(alive, started)), 60)
        after = search.told()
        return {
            "lost": sum(after.get(trial) != when for trial, when in before.items()),
            "same": results(run) == expected,
            "left": sum(map(alive, started)),
            "seconds": recovered,
        }


@cache
def undisturbed(folder: Path, changes: tuple[str, ...]) -> list[list[str]]:
    """The results of a search that nothing strikes."""
    run = folder / "-".join(["undisturbed", *changes])
    assert Search(folder, run, *changes).process.wait(DEADLINE_SECONDS) == 0
    return results(run)


def results(run: Path) -> list[list[str]]:
    """By trial, what does not depend on time: its row of the table, and the loss of every epoch."""
    with (run / "trials.csv").open() as file:
        found = [[value for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]
    for row in found:
        epochs = (run / "trials" / row[0] / "metrics.jsonl").read_text().splitlines()
        row += [str(json.loads(epoch)["train_loss"]) for epoch in epochs]
    return found


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
        for fault in arguments.faults:
            expected = undisturbed(folder, FAULTS[fault].changes)
            found = [
                strike(FAULTS[fault], folder, folder / f"{fault}{number}" / "run", expected, moments.random())
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
