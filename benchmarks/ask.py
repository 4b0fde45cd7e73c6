"""Seconds that a sampler takes to propose, as the study grows.

    python benchmarks/ask.py

Histories of random architectures of `search_spaces/ws.yaml` with invented accuracies; one JSON line per
sampler and number of trials, with the median and the spread of the repeats. Beside it, in the same run,
`study.ask` of the same Optuna sampler on a study in memory that holds the same trials.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna

import nas
from nas.documents import read_document
from nas.results.records import COMPLETE, History, Record
from nas.search.samplers._optuna import _suggest, parameters
from nas.space import SearchSpace
from nas.space.assemble import assemble

SPACE = Path(__file__).parents[1] / "search_spaces" / "ws.yaml"
BESIDE = {"tpe": optuna.samplers.TPESampler, "nsga2": optuna.samplers.NSGAIISampler}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument(
        "--samplers", nargs="+", default=["random", "qmc", "nsga2", "nsga3", "tpe", "evolution"]
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = assemble(read_document(SPACE).data, nas.load_dataset("avt_digits").modalities)
    records = invented(space, max(arguments.sizes) + arguments.repeats)
    for name in arguments.samplers:
        for size in arguments.sizes:
            ours = times(name, space, records, size, arguments.repeats)
            line: dict[str, Any] = {"sampler": name, "trials": size, "seconds": summary(ours)}
            if name in BESIDE:
                line["plain_optuna"] = summary(plain(name, space, records, size, arguments.repeats))
            print(json.dumps(line), flush=True)


def invented(space: SearchSpace, count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        architecture = space.sample(rng)
        accuracy = 0.5 + 0.1 * np.log10(architecture["dim"]) + 0.1 * rng.random()
        values = {"accuracy": float(accuracy), "parameters": float(architecture["dim"] ** 2)}
        records.append(Record(number, 0, architecture, COMPLETE, number, told=number, values=values))
    return records


def times(name: str, space: SearchSpace, records: list[Record], size: int, repeats: int) -> list[float]:
    """Proposals one after another, each with one trial more; the first, which fills caches, is left out."""
    sampler, found = nas.create("sampler", name), []
    for extra in range(repeats + 1):
        history = History(tuple(records[: size + extra]), {"accuracy": "maximize", "parameters": "minimize"})
        started = time.perf_counter()
        sampler.propose(space, history, extra)
        found.append(time.perf_counter() - started)
    return found[1:]


def plain(name: str, space: SearchSpace, records: list[Record], size: int, repeats: int) -> list[float]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=BESIDE[name](seed=0))
    for record in records[:size]:
        values, distributions = parameters(space, record.architecture)
        objectives = [record.values["accuracy"], record.values["parameters"]]
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=distributions, values=objectives)
        )
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        trial = study.ask()
        space.draw(lambda path, domain, trial=trial: _suggest(trial, path, domain))  # type: ignore[misc]
        found.append(time.perf_counter() - started)
        study.tell(trial, [0.5, 100.0])
    return found[1:]


def summary(seconds: list[float]) -> list[float]:
    return [round(value, 4) for value in (statistics.median(seconds), min(seconds), max(seconds))]


if __name__ == "__main__":
    main()
