"""Samplers and pruners on SmallWorldBench: how much of the front they find, by trials and by epochs.

    python benchmarks/search_table.py --repeats 30 --trials 200 --keep curves.jsonl --picture docs/search.png

Prints one JSON line per method; `+racing` after a sampler lets it spend three tenths of its trials on
repeating networks that stand on the front or close to it, and `+capped` leaves a sampler of Optuna the
settings that it has here by default: a part of the history, and for `tpe` fewer candidates. `coverage` is
the share of the whole table's hypervolume that the architectures on the front reach by their means over
the seeds, with half of the 95 % interval of the mean over the repeats; `to_random` is the number of
trials after which the mean is where random search ends. `p` compares with a sampler of Optuna at every
budget: the mean lead, and the p of Wilcoxon's signed-rank test over the repeats that both have. What is
in the file `--keep` is not run again, so that a slow sampler can have a run of its own with fewer
repeats. `--noiseless` shows what the noise of single trainings does: there every training gives its
network's mean. Pruners run under random search: `coverage_kept` is their coverage beside that of the same
search without them, `epochs_share` the epochs that they train of all. Ray's ASHA judges the accuracy
alone, as it does for its users.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

import nas
from nas.bench import SmallWorldBench
from nas.results.records import History, Record
from nas.search.simulation import simulate

SAMPLERS = ("random", "qmc", "tpe", "nsga2", "nsga3", "evolution", "evolution+racing", "tpe+racing")
OPTUNA = ("tpe", "nsga2", "nsga3", "gp")
# As Optuna has them; gp would take minutes per search.
WHOLE = {"tpe": {"candidates": 24}, "nsga2": {}, "nsga3": {}}
OURS = ("evolution", "evolution+racing")
RACING = 0.3
PRUNERS = ("dominance", "rungs", "asha")
BUDGETS = (25, 50, 100, 200)
LEAST = 5e-4  # of the picture
_bench: SmallWorldBench


class RayASHA:
    """The rungs of Ray's AsyncHyperBandScheduler, asked for the accuracy alone."""

    def __init__(self, epochs: int) -> None:
        from ray.tune.schedulers.async_hyperband import _Bracket

        self.bracket = _Bracket(min_t=1, max_t=epochs, reduction_factor=3, s=0)

    def stops(self, trial: Record, history: History) -> bool:
        """Whether Ray would stop it."""
        from ray.tune.schedulers import TrialScheduler

        [accuracy] = trial.metrics[-1].values()
        named = type("Trial", (), {"trial_id": str(trial.number)})()
        decision: Any = self.bracket.on_result(named, len(trial.metrics), accuracy)
        return bool(decision == TrialScheduler.STOP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="file of the curves, read and added to")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--noiseless", action="store_true", help="every training gives its network's mean")
    parser.add_argument("--pruners", nargs="*", default=list(PRUNERS))
    arguments = parser.parse_args()
    curves, seconds = _kept(arguments.keep)
    with Pool(arguments.processes, _load, [arguments.noiseless]) as pool:
        for name in dict.fromkeys(["random", *arguments.samplers]):
            if name not in curves:
                jobs = [(name, seed, arguments.trials) for seed in range(arguments.repeats)]
                rows, times = zip(*pool.starmap(_sampled, jobs), strict=True)
                curves[name], seconds[name] = np.array(rows), float(np.median(times))
                _keep(arguments.keep, name, curves[name], seconds[name])
            print(json.dumps(_line(name, curves[name], curves["random"], seconds[name])), flush=True)
        for name in arguments.pruners:
            jobs = [(name, seed, arguments.trials) for seed in range(arguments.repeats)]
            print(json.dumps(_pruner_line(name, pool.starmap(_pruned, jobs))), flush=True)
    for name in (name for name in OURS if name in curves):
        print(json.dumps({"sampler": name, "p": dict(_significance(name, curves))}), flush=True)
    if arguments.picture:
        _draw(curves, arguments.picture)


def _kept(file: Path | None) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    curves = {line["sampler"]: np.array(line["curves"]) for line in lines}
    return curves, {line["sampler"]: line["seconds"] for line in lines}


def _keep(file: Path | None, name: str, curves: NDArray[np.float64], seconds: float) -> None:
    if file:
        with file.open("a") as stream:
            line = {"sampler": name, "seconds": seconds, "curves": curves.round(6).tolist()}
            stream.write(json.dumps(line) + "\n")


def _significance(
    name: str, curves: Mapping[str, NDArray[np.float64]]
) -> Iterator[tuple[str, dict[int, list[float]]]]:
    """By sampler of Optuna and budget: the mean lead, and its p."""
    for other in (other for other in OPTUNA if other in curves):
        repeats, trials = np.minimum(curves[name].shape, curves[other].shape)
        found = {}
        for budget in (budget for budget in BUDGETS if budget <= trials):
            lead = curves[name][:repeats, budget - 1] - curves[other][:repeats, budget - 1]
            p = float(wilcoxon(lead).pvalue) if lead.any() else 1.0
            found[budget] = [round(float(lead.mean()), 4), round(p, 5)]
        yield other, found


def _load(noiseless: bool) -> None:
    global _bench
    _bench = SmallWorldBench.load()
    if noiseless:
        means = np.broadcast_to(_bench.accuracy.mean(1, keepdims=True), _bench.accuracy.shape)
        _bench = replace(_bench, accuracy=means)


def _sampled(name: str, seed: int, trials: int) -> tuple[list[float], float]:
    """Coverage after every trial, and seconds of ask and tell per trial."""
    started = time.process_time()
    sampler, *ways = name.split("+")
    share = RACING if "racing" in ways else 0.0
    whole = {"history": trials} | WHOLE[sampler] if sampler in WHOLE and "capped" not in ways else {}
    found = simulate(_bench, nas.create("sampler", sampler, **whole), trials=trials, seed=seed, racing=share)
    return list(found.coverage), (time.process_time() - started) / trials


def _pruned(name: str, seed: int, trials: int) -> tuple[float, float]:
    """Coverage beside that of the search without the pruner, and the share of its epochs."""
    pruner = RayASHA(_bench.epochs) if name == "asha" else nas.create("pruner", name)
    sampler = nas.create("sampler", "random")
    whole = simulate(_bench, sampler, trials=trials, seed=seed)
    stopped = simulate(_bench, sampler, pruner, trials=trials, seed=seed)
    return stopped.coverage[-1] / whole.coverage[-1], stopped.epochs[-1] / whole.epochs[-1]


def _line(
    name: str, curves: NDArray[np.float64], random: NDArray[np.float64], seconds: float
) -> Mapping[str, Any]:
    mean = curves.mean(0)
    reached = np.flatnonzero(mean >= random.mean(0)[-1])
    line = {"sampler": name, "repeats": len(curves)}
    line |= {f"coverage_{budget}": text for budget, text in _budgets(curves)}
    line |= {"to_random": int(reached[0]) + 1 if len(reached) else None}
    line |= {"milliseconds_per_trial": round(1000 * seconds, 1)}
    return line


def _budgets(curves: NDArray[np.float64]) -> Iterator[tuple[int, list[float]]]:
    for budget in BUDGETS:
        if budget <= curves.shape[1]:
            values = curves[:, budget - 1]
            yield budget, [round(float(values.mean()), 4), round(_half_interval(values), 4)]


def _half_interval(values: NDArray[np.float64]) -> float:
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _pruner_line(name: str, rows: list[tuple[float, float]]) -> Mapping[str, Any]:
    kept, share = np.array(rows).T
    return {
        "pruner": name,
        "repeats": len(rows),
        "coverage_kept": [round(float(kept.mean()), 4), round(float(kept.min()), 4)],
        "epochs_share": [round(float(share.mean()), 4), round(float(share.max()), 4)],
    }


def _draw(curves: Mapping[str, NDArray[np.float64]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in curves.items():
        missing = 1 - rows.mean(0)
        half = 1.96 * rows.std(0, ddof=1) / np.sqrt(len(rows))
        trials = np.arange(1, len(missing) + 1)
        [line] = axes.plot(trials, missing, label=name, linewidth=2.5 if name == "evolution+racing" else 1.2)
        low = np.maximum(missing - half, LEAST)
        axes.fill_between(trials, low, missing + half, alpha=0.15, color=line.get_color())
    axes.set(xlabel="trials", ylabel="share of the table's hypervolume not covered", yscale="log")
    axes.set(xlim=(0, None), ylim=(LEAST, 0.5))
    axes.legend(loc="upper right", frameon=False, ncols=2)
    axes.grid(alpha=0.25)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
