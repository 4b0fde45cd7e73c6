"""Seconds that a sampler takes to propose, and the study to ask and to tell, as the study grows.

    python benchmarks/ask.py

Histories of random architectures of `search_spaces/ws.yaml` with invented accuracies; one JSON line per
number of trials and sampler, with the median and the spread of the repeats. `propose` is the sampler
alone. `ask_and_tell` is all that the study does for a trial: the proposal, the comparison with the networks
that there have been, and its SQLite database, events and files. Beside them, in the same run, `study.ask`
of the same Optuna sampler on a study in memory that holds the same trials, and `study.ask`, the
suggestions and `study.tell` on one in an SQLite database.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import create_trial

import nas
from nas.documents import read_document
from nas.experiment import Direction, Experiment
from nas.network import identity, outline
from nas.results.records import COMPLETE, History, Record
from nas.results.run_directory import RunDirectory
from nas.search.proposals import Proposals
from nas.search.samplers._optuna import _suggest, parameters
from nas.search.study import Study
from nas.space import Architecture, SearchSpace
from nas.space.assemble import assemble

SPACE = Path(__file__).parents[1] / "search_spaces" / "ws.yaml"
OBJECTIVES: dict[str, Direction] = {"accuracy": "maximize", "parameters": "minimize"}
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
    dataset = nas.load_dataset("avt_digits")
    space = assemble(read_document(SPACE).data, dataset.modalities)
    records = invented(space, max(arguments.sizes) + arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        study = Whole(Path(folder), space, dataset, records)
        for size in arguments.sizes:
            study.fill(size)
            for name in arguments.samplers:
                proposing = times(name, space, records, size, arguments.repeats)
                asking = study.times(name, arguments.repeats)
                line = {"trials": size, "sampler": name, "propose": summary(proposing)}
                line["ask_and_tell"] = summary(asking)
                if name in BESIDE:
                    line |= beside(name, space, records, size, arguments.repeats, folder)
                print(json.dumps(line), flush=True)


class Recorded:
    """A sampler that proposes what there is a record of."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        return self.records[len(history.records)].architecture


class Whole:
    """A study with all that belongs to it, which grows."""

    def __init__(self, folder: Path, space: SearchSpace, dataset: Any, records: list[Record]) -> None:
        run = RunDirectory(folder / "run")
        run.create(Experiment(name="ask", data={"avt_digits": {}}), dataset.modalities, dataset.task)
        self.recorded = Recorded(records)
        self.proposals = Proposals(
            space,
            self.recorded,
            0,
            lambda one: identity(one, dataset.modalities, dataset.task),
            outline=outline,
            exact=lambda one: {"parameters": measured(one, 0.0)["parameters"]},
        )
        self.study = Study(run, "ask", self.proposals, OBJECTIVES)

    def fill(self, size: int) -> None:
        self.proposals.sampler = self.recorded
        while len(self.study.records) < size:
            self._trial()

    def times(self, name: str, repeats: int) -> list[float]:
        """Trials one after another; the first, which fills the sampler's caches, is left out."""
        self.proposals.sampler = nas.create("sampler", name)
        return [self._trial() for _ in range(repeats + 1)][1:]

    def _trial(self) -> float:
        started = time.perf_counter()
        asked = self.study.ask()
        assert asked is not None
        values = measured(asked.architecture, asked.seed % 1000 / 1000)
        self.study.tell(asked.number, values | {"sparsity": 0.0, "flops": 1.0}, 1.0)
        return time.perf_counter() - started


def invented(space: SearchSpace, count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        architecture = space.sample(rng)
        values = measured(architecture, rng.random())
        records.append(Record(number, 0, architecture, COMPLETE, number, told=number, values=values))
    return records


def measured(architecture: Architecture, luck: float) -> dict[str, float]:
    accuracy = 0.5 + 0.1 * np.log10(architecture["dim"]) + 0.1 * luck
    return {"accuracy": float(accuracy), "parameters": float(architecture["dim"] ** 2)}


def times(name: str, space: SearchSpace, records: list[Record], size: int, repeats: int) -> list[float]:
    """Proposals one after another, each with one trial more; the first, which fills caches, is left out."""
    sampler, found = nas.create("sampler", name), []
    for extra in range(repeats + 1):
        history = History(tuple(records[: size + extra]), OBJECTIVES)
        started = time.perf_counter()
        sampler.propose(space, history, extra)
        found.append(time.perf_counter() - started)
    return found[1:]


def beside(
    name: str, space: SearchSpace, records: list[Record], size: int, repeats: int, folder: str
) -> dict[str, list[float]]:
    """What Optuna takes with the same trials, in memory and in a database."""
    database = f"sqlite:///{folder}/{name}_{size}.db"
    memory = plain(name, space, records, size, repeats, None)
    stored = plain(name, space, records, size, repeats, database)
    return {
        "plain_ask_in_memory": summary([asking for asking, _ in memory]),
        "plain_ask_and_tell": summary([whole for _, whole in stored]),
    }


def plain(
    name: str, space: SearchSpace, records: list[Record], size: int, repeats: int, storage: str | None
) -> list[tuple[float, float]]:
    """Seconds to ask, with the suggestions, and to ask and tell."""
    directions = list(OBJECTIVES.values())
    study = optuna.create_study(directions=directions, sampler=BESIDE[name](seed=0), storage=storage)
    trials = []
    for record in records[:size]:
        values, distributions = parameters(space, record.architecture)
        objectives = [record.values["accuracy"], record.values["parameters"]]
        trials.append(create_trial(params=values, distributions=distributions, values=objectives))
    study.add_trials(trials)
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        trial = study.ask()
        space.draw(lambda path, domain, trial=trial: _suggest(trial, path, domain))  # type: ignore[misc]
        asked = time.perf_counter()
        study.tell(trial, [0.5, 100.0])
        found.append((asked - started, time.perf_counter() - started))
    return found[1:]


def summary(seconds: list[float]) -> list[float]:
    return [round(value, 4) for value in (statistics.median(seconds), min(seconds), max(seconds))]


if __name__ == "__main__":
    main()
