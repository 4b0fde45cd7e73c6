"""How many trials a driver can handle: thousands of them, on simulated workers and on real ones.

    python benchmarks/throughput.py --simulated 10000 --workers 64
    python benchmarks/throughput.py --real 2000 --workers 2 [--backend ray]

Simulated workers take no time and report what a training of three epochs would, with an invented
accuracy; the study, its database, the run directory, the tables and the notes are the real ones. Real
workers train a tiny network for one epoch. One JSON line: trials per second, the driver's memory, the size
of the database, and how long an ask takes as the study grows.
"""

import argparse
import heapq
import json
import math
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from overhead import PLUGIN

from nas.results.run_directory import RunDirectory
from nas.search.driver import drive
from nas.search.executors import Completed, Job, Measured, Progress, Report, open_executor
from nas.search.logbook import Logbook
from nas.search.setup import Setup, prepare
from nas.search.study import Study
from nas.seeds import derive

EPOCHS = 3
PARTS = 10

EXPERIMENT: dict[str, Any] = {
    "name": "throughput",
    "data": "tiny",
    "plugins": ["tiny.py"],
    "space": {
        "dim": {"int": [4, 64]},
        "connector": {
            "choice": {"none": {}, "small_world": {"layers": {"int": [1, 3]}, "dropout": {"float": [0, 0.5]}}}
        },
        "fusion": {"choice": ["concat", "gate", "early"]},
        "head": {"choice": ["linear", "mlp"]},
        "training": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
    },
    "training": {"epochs": 1, "batch_size": 16},
}


class Simulated:
    """Workers on a clock of their own, that invent what a training would report."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.now = 0.0
        self.due: list[tuple[float, int]] = []
        self.jobs: dict[int, Job] = {}
        self.epochs: dict[int, int] = {}

    @property
    def room(self) -> int:
        return self.workers - len(self.jobs)

    def submit(self, jobs: Any) -> None:
        for job in jobs:
            self.jobs[job.number] = job
            self.epochs[job.number] = 0
            self._train(job.number)

    def wait(self, seconds: float) -> list[Report]:
        self.now, number = heapq.heappop(self.due)
        self.epochs[number] += 1
        epoch, dim = self.epochs[number], self.jobs[number].architecture["dim"]
        cheap = {"parameters": 100.0 * dim, "sparsity": 0.0, "flops": 1000.0 * dim}
        accuracy = (0.4 + 0.1 * math.log10(dim) + derive(number, "accuracy") % 1000 / 1e4) * epoch / EPOCHS
        progress = Progress(number, {"epoch": epoch, "accuracy": accuracy}, epoch < EPOCHS)
        if epoch < EPOCHS:
            return [Measured(number, cheap), progress]
        del self.jobs[number], self.epochs[number]
        return [progress, Completed(number, cheap | {"accuracy": accuracy}, 1.0)]

    def answer(self, number: int, stop: bool) -> None:
        self._train(number)

    def _train(self, number: int) -> None:
        heapq.heappush(self.due, (self.now + 1 + derive(number, "pace") % 100 / 100, number))

    def close(self) -> None:
        self.jobs.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--simulated", type=int, metavar="TRIALS")
    size.add_argument("--real", type=int, metavar="TRIALS")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--backend", choices=["local", "ray"], default="local")
    parser.add_argument("--sampler", default="tpe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setup = write(Path(folder), arguments)
        run = RunDirectory(Path(folder) / "run")
        run.create(setup.experiment, setup.dataset.modalities, setup.dataset.task)
        if arguments.simulated:
            executor: Any = Simulated(arguments.workers)
        else:
            executor = open_executor(setup.experiment, setup.dataset, run.path)
        print(json.dumps(vars(arguments) | measure(setup, run, executor)))


def write(folder: Path, arguments: argparse.Namespace) -> Setup:
    (folder / "tiny.py").write_text(PLUGIN)
    experiment = EXPERIMENT | {
        "search": {"sampler": arguments.sampler, "trials": arguments.simulated or arguments.real},
        "execution": {"backend": arguments.backend, "workers": arguments.workers},
    }
    (folder / "throughput.yaml").write_text(yaml.safe_dump(experiment))
    return prepare(folder / "throughput.yaml", [])


def measure(setup: Setup, run: RunDirectory, executor: Any) -> dict[str, Any]:
    experiment = setup.experiment
    study = Study(run, experiment.name, setup.proposals, experiment.objectives)
    asks: list[float] = []
    ask = study.ask

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        record = ask(*arguments, **options)
        asks.append(time.perf_counter() - started)
        return record

    study.ask = timed  # type: ignore[method-assign]
    started = time.perf_counter()
    with Logbook(study, [], experiment) as book:
        drive(study, executor, setup.pruner, run, experiment.search.trials, book.observe, lambda: False)
    seconds = time.perf_counter() - started
    study.close()
    size = math.ceil(len(asks) / PARTS)
    parts = [asks[first : first + size] for first in range(0, len(asks), size)]
    return {
        "trials_told": sum(record.finished for record in study.records),
        "seconds": round(seconds, 1),
        "trials_per_second": round(len(study.records) / seconds, 2),
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        "database_mb": round(run.database.stat().st_size / 1e6, 1),
        "ask_ms_by_tenth": [round(1000 * statistics.median(part), 1) for part in parts],
        "ask_ms_longest": round(1000 * max(asks), 1),
    }


if __name__ == "__main__":
    main()
