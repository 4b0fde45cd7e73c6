"""What a second worker is worth: the same search on one and on two, by `local` processes and by Ray.

    python benchmarks/scaling.py [--repeats 5] [--trials 8] [--epochs 2]

Real trainings on avt_digits, each on one thread: networks of one size that differ in their learning rate.
Beside them a `multiprocessing.Pool` over the same trainings with the same seeds, and no study: what the
machine itself gives, whose cores share caches and memory. Every repeat runs each way once. What counts
is the time from when every worker has ended a training to the end of the last one, so that no start of a
process is in it. One JSON line per figure with the median of the repeats and their spread: trials per
hour, and the efficiency, trials per hour of two workers over twice those of one in the same repeat.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from nas.evaluation import Evaluator
from nas.experiment import Experiment
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.__main__ import main as search
from nas.search.executors._worker import prepare
from nas.search.executors.ray import settle
from nas.space import Architecture

WORKERS = (1, 2)
EXPERIMENT: dict[str, Any] = {
    "name": "scaling",
    "data": "avt_digits",
    "space": {
        "present": "all",
        "dim": 48,
        "encoders": {
            "image": {"cnn": {"width": 16}},
            "audio": {"spectrogram_cnn": {"width": 8}},
            "text": {"attention": {"embedding": 32}},
        },
        "connector": {"small_world": {"layers": 2, "topology": {"watts_strogatz": {"k": 6}}}},
        "fusion": "attention",
        "head": "linear",
        "training": {"learning_rate": {"float": [1e-3, 1e-2], "log": True}},
    },
}


class Bench:
    """The ways of one repeat; each gives trials per hour for a number of workers.

    Args:
        folder: Where the runs are kept.
        trials: Trainings of each.
        epochs: Epochs of a training.
    """

    def __init__(self, folder: Path, trials: int, epochs: int) -> None:
        self.folder = folder
        self.trials = trials
        settings = {"search": {"sampler": "random", "trials": trials}, "training": {"epochs": epochs}}
        self.file = folder / "scaling.yaml"
        folder.mkdir()
        self.file.write_text(yaml.safe_dump(EXPERIMENT | settings))

    def local(self, workers: int) -> float:
        return self._search("local", workers)

    def ray(self, workers: int) -> float:
        return self._search("ray", workers)

    def pool(self, workers: int) -> float:
        """The trainings that the search on one worker has asked for."""
        run = RunDirectory(self.folder / "local_1")
        tasks = [(record.architecture.to_data(), record.seed) for record in read_history(run).records]
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers, make_ready, [run.experiment()]) as pool:
            ends = [time.time() for _ in pool.imap_unordered(train_one, tasks)]
        return per_hour(ends, workers)

    def _search(self, backend: str, workers: int) -> float:
        run = self.folder / f"{backend}_{workers}"
        options = [f"execution.backend={backend}", f"execution.workers={workers}"]
        words = [str(self.file), "--run-dir", str(run), "--quiet"]
        if search([*words, *(word for option in options for word in ("--set", option))]):
            raise RuntimeError(f"the search in {run} has failed")
        events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
        told = [event["time"] for event in events if event["event"] == "told"]
        return per_hour([datetime.fromisoformat(when).timestamp() for when in told], workers)


def per_hour(ends: list[float], workers: int) -> float:
    """Trainings per hour, from when they ended; the first one of each worker starts the clock."""
    return 3600 * (len(ends) - workers) / (ends[-1] - ends[workers - 1])


evaluator: Evaluator


def make_ready(experiment: Experiment) -> None:
    """What a process of the pool does once."""
    global evaluator
    evaluator = prepare(experiment.to_data(), 1, "cpu")


def train_one(task: tuple[dict[str, Any], int]) -> float:
    """What it does for every training; the accuracy."""
    tree, seed = task
    return evaluator(Architecture(tree), seed).values["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    settle("local")
    import ray

    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        for repeat in range(arguments.repeats):
            bench = Bench(Path(home) / str(repeat), arguments.trials, arguments.epochs)
            counts = WORKERS if repeat % 2 else WORKERS[::-1]
            for name in ("local", "pool", "ray"):  # the pool after `local`, and both before Ray is there
                if name == "ray":
                    ray.init("local", num_cpus=max(WORKERS), log_to_driver=False, logging_level="CRITICAL")
                for workers in counts:
                    rate = getattr(bench, name)(workers)
                    found.setdefault((name, workers), []).append(rate)
            ray.shutdown()
    show(found)


def show(found: dict[tuple[str, int], list[float]]) -> None:
    for (name, workers), rates in sorted(found.items()):
        line = {"figure": "trials_per_hour", "of": name, "workers": workers, **spread(rates)}
        print(json.dumps(line), flush=True)
    for name in ("local", "ray", "pool"):
        pairs = zip(found[name, 1], found[name, 2], strict=True)
        line = {"figure": "efficiency", "of": name, **spread([two / one / 2 for one, two in pairs], 3)}
        if name != "pool":
            shares = [ours / its for ours, its in zip(found[name, 2], found["pool", 2], strict=True)]
            line["of_the_pool"] = spread(shares, 3)
        print(json.dumps(line), flush=True)


def spread(values: list[float], digits: int | None = None) -> dict[str, Any]:
    low, high = min(values), max(values)
    return {
        "median": round(statistics.median(values), digits),
        "spread": [round(low, digits), round(high, digits)],
    }


if __name__ == "__main__":
    main()
