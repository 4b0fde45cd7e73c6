"""The main job as it is against what it was without races, pruner and our sampler: front against front.

    python benchmarks/old_and_new_front.py --seeds 3 --retrainings 3 --runs fronts

Searches `experiments/ws.yaml` with every seed twice, with as many trials: as it stands (`new`), and with
Optuna's `tpe`, no pruner and no races (`old`). Since the best of many single trainings is partly luck, every
member of both fronts is then trained from scratch with other seeds and measured on the test split. Runs are
kept in a folder; what is there is not done again.

Prints one JSON line per search: epochs, members, the hypervolume of the front by the values of the
search, and by those of the retraining, both scaled as by `nas.report`; and the best accuracy of the
retrained members up to some numbers of parameters. Then the mean differences with half of Student's
95 % interval.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import t

from nas.results.progress import Scale
from nas.results.retrained import read_all
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "ws.yaml"
WAYS: Mapping[str, Sequence[str]] = {
    "new": (),
    "old": ("search.sampler={tpe: {candidates: 24}}", "search.pruner=none", "search.racing=0"),
}
SIZES = (15_000, 30_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind")
    parser.add_argument("--retrainings", type=int, default=3, help="trainings of every member of a front")
    parser.add_argument("--workers", type=int, default=1, help="processes; with one a search can be repeated")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run directories")
    arguments = parser.parse_args()
    keys = [(way, seed) for seed in range(arguments.seeds) for way in WAYS]
    runs = {(way, seed): searched(way, seed, arguments) for way, seed in keys}
    scale = Scale.of([read_history(run) for run in runs.values()])
    lines = {key: line(*key, run, scale) for key, run in runs.items()}
    for found in lines.values():
        print(json.dumps(found))
    for name in ("hypervolume", "retrained_hypervolume", *(f"up_to_{size}" for size in SIZES)):
        pairs = [(lines["new", seed][name], lines["old", seed][name]) for seed in range(arguments.seeds)]
        print(json.dumps({"new_minus_old": name} | difference(pairs)))


def searched(way: str, seed: int, arguments: argparse.Namespace) -> RunDirectory:
    """The run of one search, with its front retrained."""
    folder = arguments.runs / f"{way}{seed}"
    workers = f"execution.workers={arguments.workers}"
    settings = [text for value in (*WAYS[way], f"search.seed={seed}", workers) for text in ("--set", value)]
    resume = ["--resume"] if folder.exists() else []
    _run("search", str(EXPERIMENT), "--run-dir", str(folder), *settings, *resume)
    more = ["--seeds", str(arguments.retrainings), "--workers", str(arguments.workers)]
    _run("retrain", str(folder), "--front", *more)
    return RunDirectory(folder)


def _run(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"nas.{command}", *arguments], check=True, stdout=sys.stderr)


def line(way: str, seed: int, run: RunDirectory, scale: Scale) -> dict[str, Any]:
    """The figures of one search."""
    history = read_history(run)
    members = history.front()
    retrained = {result.subject.label: result.trainings for result in read_all(run, history)}
    tested = []
    for member in members:
        accuracy = mean(training.test["accuracy"] for training in retrained[f"trial {member.number}"])
        tested.append({"accuracy": accuracy, "parameters": member.values["parameters"]})
    return {
        "way": way,
        "seed": seed,
        "epochs": sum(len(record.metrics) for record in history.records),
        "members": len(members),
        "hypervolume": round(scale.volume([scale(member.values) for member in members]), 4),
        "retrained_hypervolume": round(scale.volume([scale(values) for values in tested]), 4),
    } | {f"up_to_{size}": _best(tested, size) for size in SIZES}


def _best(tested: Sequence[Mapping[str, float]], size: int) -> float | None:
    """The best accuracy of networks with no more parameters; None without any."""
    fitting = [values["accuracy"] for values in tested if values["parameters"] <= size]
    return round(max(fitting), 4) if fitting else None


def difference(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    """The mean over the seeds that have both, with half of the interval."""
    known = np.array([new - old for new, old in pairs if new is not None and old is not None])
    if len(known) < 2:
        return {"seeds": len(known), "mean": float(known.mean()) if len(known) else None}
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5
    return {"seeds": len(known), "mean": round(float(known.mean()), 4), "half": round(float(half), 4)}


if __name__ == "__main__":
    main()
