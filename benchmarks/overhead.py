"""What a search costs per trial: everything but the evaluation itself.

    python benchmarks/overhead.py

Trivial trainings on a tiny dataset with two workers, by `local` processes and by Ray; notes, events and
tables are as in any search. The figure is the time for which a worker is busy with a trial, or waits for
the next one, less the evaluation's own. Beside them, in the same run, what one would write instead, with
an evaluation that takes no time: `study.optimize(n_jobs=2)` on an SQLite storage, and `tune.Tuner` with
`OptunaSearch`, as it is and with `reuse_actors=True`. One JSON line per figure, with the median of the
repeats, their spread, and the ratio to ours of the same repeat.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from nas.search.__main__ import main as search
from nas.search.executors.ray import settle

WORKERS = 2
FIRST = 4  # trials that start the workers, and do not count
PLUGIN = '''
import torch, nas
from nas.datasets import TensorSplit

@nas.register("dataset", "tiny")
class Tiny:
    """Noise with labels."""
    def __init__(self):
        self.task = nas.Task("classification", ("a", "b"))
        self.modalities = {
            "image": nas.ModalitySpec("image", (1, 8, 8)),
            "text": nas.ModalitySpec("text", (5,), 7),
        }
        inputs = {"image": torch.zeros(16, 1, 8, 8), "text": torch.ones(16, 5, dtype=torch.long)}
        split = TensorSplit(inputs, torch.arange(16) % 2)
        self.splits = {"train": split, "validation": split, "test": split}
'''
EXPERIMENT = """
name: overhead
data: tiny
plugins: [../tiny.py]
space: {dim: {int: [16, 64]}, fusion: {choice: [concat, gate, early]}, connector: none}
search: {sampler: random, trials: %d}
training: {epochs: 1, batch_size: 16}
execution: {backend: %s, workers: %d}
"""
OBJECTIVES, WAYS = ["accuracy", "parameters"], ["max", "min"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settle("local")
    import ray

    figures: dict[str, Callable[[Path, int], float]] = {
        "local": lambda folder, trials: ours(folder, trials, "local"),
        "optimize_n_jobs_2": plain_optuna,
        "ray": lambda folder, trials: ours(folder, trials, "ray"),
        "tuner_reusing_actors": lambda folder, trials: plain_tune(folder, trials, True),
        "tuner": lambda folder, trials: plain_tune(folder, trials // 3, False),
    }
    found: dict[str, list[float]] = {name: [] for name in figures}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "tiny.py").write_text(PLUGIN)
        for repeat in range(arguments.repeats):
            for name, measure in figures.items():
                if name == "ray":  # its processes take a share of the cores: not beside `local`
                    ray.init("local", num_cpus=WORKERS, log_to_driver=False, logging_level="CRITICAL")
                folder = Path(home) / f"{name}_{repeat}"
                folder.mkdir()
                found[name].append(measure(folder, arguments.trials))
            ray.shutdown()
    for name, own in (("local", "local"), ("optimize_n_jobs_2", "local")):
        show(name, found, own)
    for name in ("ray", "tuner_reusing_actors", "tuner"):
        show(name, found, "ray")


def show(name: str, found: dict[str, list[float]], own: str) -> None:
    seconds = found[name]
    ratios = [mine / theirs for mine, theirs in zip(found[own], seconds, strict=True)]
    line: dict[str, Any] = {"figure": "overhead_seconds_per_trial", "of": name}
    line["seconds"] = round(statistics.median(seconds), 4)
    line["spread"] = [round(min(seconds), 4), round(max(seconds), 4)]
    if name != own:
        line[f"{own}_over_it"] = round(statistics.median(ratios), 3)
    print(json.dumps(line), flush=True)


def ours(folder: Path, trials: int, backend: str) -> float:
    """Seconds per trial, from the times in `events.jsonl`, less those of the evaluations."""
    file, run = folder / "overhead.yaml", folder / "run"
    file.write_text(EXPERIMENT % (trials, backend, WORKERS))
    if search([str(file), "--run-dir", str(run), "--quiet"]):
        raise RuntimeError(f"the search in {run} has failed")
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    told = [event for event in events if event["event"] == "told"]
    ends = [datetime.fromisoformat(event["time"]).timestamp() for event in told]
    return per_trial(ends) - statistics.mean(event["seconds"] for event in told[FIRST:])


def plain_optuna(folder: Path, trials: int) -> float:
    """Seconds per trial of `study.optimize`, with four parameters and five attributes each."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/plain.db",
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(0),
    )
    ends: list[float] = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        for name in ("a", "b", "c", "d"):
            trial.suggest_float(name, 0, 1)
        for name in ("architecture", "parameters", "sparsity", "flops", "seconds"):
            trial.set_user_attr(name, 1.0)
        return 0.5, 1.0

    study.optimize(
        objective, n_trials=trials, n_jobs=WORKERS, callbacks=[lambda *_: ends.append(time.time())]
    )
    return per_trial(ends)


def plain_tune(folder: Path, trials: int, reuse: bool) -> float:
    """Seconds per trial of `Tuner.fit` with `OptunaSearch`, with four parameters each."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(time.time())

    def trivial(config: dict[str, float]) -> None:
        tune.report({"accuracy": 0.5, "parameters": 1.0})

    space = {name: tune.uniform(0, 1) for name in ("a", "b", "c", "d")}
    tuner = tune.Tuner(
        tune.with_resources(trivial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric=OBJECTIVES, mode=WAYS, seed=0),
            num_samples=trials,
            max_concurrent_trials=WORKERS,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Clock()]),
    )
    tuner.fit()
    return per_trial(ends)


def per_trial(ends: list[float]) -> float:
    """For how long a worker was at a trial, from when the trials ended."""
    return WORKERS * (ends[-1] - ends[FIRST - 1]) / (len(ends) - FIRST)


if __name__ == "__main__":
    main()
