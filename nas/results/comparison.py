"""Several runs side by side: their fronts, the growth of their hypervolume, and whether they differ."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

import nas
from nas.errors import RequestError
from nas.experiment import Experiment
from nas.registry import require_plugins
from nas.results.charts import course_chart, fronts_chart
from nas.results.page import render
from nas.results.progress import Scale, volumes
from nas.results.records import History
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import read_history

LEVEL = 0.05
SMALL, MEDIUM, LARGE = 0.56, 0.64, 0.71  # Vargha and Delaney 2000


@dataclass(frozen=True)
class Compared:
    """One run.

    Args:
        run: Where it is kept.
        experiment: What was searched.
        history: Its trials.
        course: Hypervolume after each of its finished trials, on the scale that all runs share.
    """

    run: RunDirectory
    experiment: Experiment
    history: History
    course: Sequence[float]


@dataclass(frozen=True)
class Group:
    """Runs of one experiment that differ in their seeds alone.

    Args:
        name: What they are called.
        runs: At least one.
    """

    name: str
    runs: Sequence[Compared]

    def at(self, trials: int) -> list[float]:
        """Hypervolume of every run after so many trials."""
        return [run.course[trials - 1] for run in self.runs]

    @cached_property
    def band(self) -> NDArray[np.float64]:
        """Smallest, median and largest hypervolume after each trial that all runs have: `(3, trials)`."""
        length = min(len(run.course) for run in self.runs)
        courses = np.array([run.course[:length] for run in self.runs])
        return np.quantile(courses, [0, 0.5, 1], axis=0)


@dataclass(frozen=True)
class Verdict:
    """Whether two groups differ in hypervolume.

    Args:
        one: Name of a group.
        other: Name of another.
        p: Two-sided p-value of the Mann–Whitney test, corrected for the number of pairs (Holm); None where
            a group has one run alone.
        effect: Probability that a run of `one` beats one of `other` (Vargha and Delaney's A).
        least: The smallest p-value that so few runs can have.
    """

    one: str
    other: str
    p: float | None
    effect: float
    least: float

    def __str__(self) -> str:
        share = f"a run of {self.one} beats one of {self.other} in {self.effect:.0%} of the pairs"
        if self.p is None:
            return (
                f"{share[0].upper()}{share[1:]}; with a single run of either no test is possible: "
                "repeat both with other seeds."
            )
        size = _size(self.effect)
        if self.p <= LEVEL:
            better = self.one if self.effect > 0.5 else self.other
            return f"{better} is better: {share} ({size} effect), p = {self.p:.3g}, which is hardly chance."
        short = " So few repeats cannot show a difference, however large." if self.least > LEVEL else ""
        return f"No difference is shown: {share} ({size} effect), p = {self.p:.3g}.{short}"


def write_comparison(runs: Sequence[RunDirectory], output: Path | None = None) -> Path:
    """Write a page that compares runs.

    Args:
        runs: At least two.
        output: The file; for None `compare.html` in the folder that the runs have in common.

    Returns:
        The file.

    Raises:
        RequestError: A run is not there or has no complete trial, or the runs cannot be compared.
    """
    groups = compare(runs)
    trials = min(len(run.course) for group in groups for run in group.runs)
    file = output or Path(os.path.commonpath([run.path.resolve().parent for run in runs])) / "compare.html"
    histories = {group.name: [run.history for run in group.runs] for group in groups}
    page = render(
        "compare.html.j2",
        {
            "fronts": fronts_chart(histories),
            "course": course_chart({group.name: group.band for group in groups}),
        },
        objectives=groups[0].runs[0].history.objectives,
        data=groups[0].runs[0].experiment.data_name,
        groups=groups,
        trials=trials,
        rows=[_row(group, trials) for group in groups],
        verdicts=[str(verdict) for verdict in verdicts(groups, trials)],
        version=nas.__version__,
    )
    write_atomically(file, page)
    return file


def compare(runs: Sequence[RunDirectory]) -> list[Group]:
    """The runs in groups of repeats, on one scale of hypervolume.

    Raises:
        RequestError: As `write_comparison`.
    """
    for path, count in Counter(run.path.resolve() for run in runs).items():
        if count > 1:
            raise RequestError(f"{path} is given {count} times; a run is no repeat of itself")
    experiments = [run.experiment() for run in runs]
    for run, experiment in zip(runs[1:], experiments[1:], strict=True):
        if reason := _incomparable(runs[0], experiments[0], run, experiment):
            raise RequestError(f"{runs[0].path} and {run.path} cannot be compared: {reason}")
    histories = []
    for run, experiment in zip(runs, experiments, strict=True):
        require_plugins(experiment.plugins)
        histories.append(read_history(run))
        if not histories[-1].candidates:
            raise RequestError(f"{run.path} has no complete trial yet; there is nothing to compare")
    scale = Scale.of(histories)
    compared = [
        Compared(run, experiment, history, list(volumes(history, scale).values()))
        for run, experiment, history in zip(runs, experiments, histories, strict=True)
    ]
    return list(_groups(compared))


def verdicts(groups: Sequence[Group], trials: int) -> list[Verdict]:
    """Every pair of groups, by the hypervolume after so many trials."""
    pairs = list(combinations(groups, 2))
    tests = []
    for one, other in pairs:
        mine, theirs = one.at(trials), other.at(trials)
        test = mannwhitneyu(mine, theirs)
        alone = min(len(mine), len(theirs)) < 2
        extreme = mannwhitneyu(range(len(mine)), range(len(mine), len(mine) + len(theirs)), method="exact")
        effect = float(test.statistic) / len(mine) / len(theirs)
        tests.append((None if alone else float(test.pvalue), effect, float(extreme.pvalue)))
    corrected = _holm([p for p, _, _ in tests])
    return [
        Verdict(one.name, other.name, p, effect, least)
        for (one, other), p, (_, effect, least) in zip(pairs, corrected, tests, strict=True)
    ]


def _incomparable(
    first: RunDirectory, mine: Experiment, second: RunDirectory, theirs: Experiment
) -> str | None:
    """Why two runs cannot be compared; None where they can."""
    if list(mine.objectives.items()) != list(theirs.objectives.items()):
        return f"their objectives differ ({_ways(mine)}, and {_ways(theirs)})"
    if mine.data != theirs.data:
        return f"their data differ ({mine.data}, and {theirs.data})"
    if first.data() != second.data():
        return "the modalities or the task of their data differ"
    return None


def _ways(experiment: Experiment) -> str:
    return ", ".join(f"{name} {direction}d" for name, direction in experiment.objectives.items())


def _groups(compared: Sequence[Compared]) -> Iterator[Group]:
    """Repeats together; groups of one name are told apart by the folders of their runs."""
    found: list[list[Compared]] = []
    for run in compared:
        home = next((group for group in found if _repeats(group[0].experiment, run.experiment)), None)
        if home is None:
            found.append([run])
        else:
            home.append(run)
    names = [group[0].experiment.name for group in found]
    for name, group in zip(names, found, strict=True):
        folders = ", ".join(run.run.path.name for run in group)
        yield Group(name if names.count(name) == 1 else f"{name} ({folders})", group)


def _repeats(one: Experiment, other: Experiment) -> bool:
    """Whether two experiments are the same but for the seed."""
    search = one.search.model_copy(update={"seed": other.search.seed})
    same = one.model_copy(update={"search": search})
    return same.space == other.space and same.difference(other) is None


def _row(group: Group, trials: int) -> dict[str, Any]:
    values = group.at(trials)
    return {
        "name": group.name,
        "runs": len(group.runs),
        "seeds": ", ".join(str(run.experiment.search.seed) for run in group.runs),
        "median": median(values),
        "range": (min(values), max(values)),
        "front": median(len(run.history.front()) for run in group.runs),
        "folders": ", ".join(str(run.run.path) for run in group.runs),
    }


def _holm(values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number (Holm 1979); those that are not there stay away."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    found: dict[int, float] = {}
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        found[place] = highest
    return [found.get(place) for place in range(len(values))]


def _size(effect: float) -> str:
    distance = abs(effect - 0.5) + 0.5
    for least, word in ((LARGE, "large"), (MEDIUM, "medium"), (SMALL, "small")):
        if distance >= least:
            return word
    return "negligible"
