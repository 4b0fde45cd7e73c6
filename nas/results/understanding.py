"""What a retrained network rests on, as tables: `understanding.json` in the folder of its trial."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.results.figures import figure
from nas.results.plots import Picture, curve_picture, embedded
from nas.results.run_directory import RunDirectory


@dataclass(frozen=True)
class Table:
    """One table for a person.

    Args:
        title: What it shows.
        explanation: How to read it.
        columns: Headings, that of the row names first.
        rows: Cells, the name of the row first.
        picture: The same drawn, where that says more.
    """

    title: str
    explanation: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    picture: Picture | None = None


def understanding(run: RunDirectory, number: int) -> list[Table]:
    """The tables of one trial; none where it has not been retrained."""
    file = run.trial(number) / "understanding.json"
    if not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    if "failure" in found:
        return [Table("This could not be found out", found["failure"], (), ())]
    parts = (_contributions, _subsets, _missing, _noise, _gates, _calibration, _confusion)
    return [table for part in parts if (table := part(found))]


def _contributions(found: Mapping[str, Any]) -> Table | None:
    return Table(
        "What each modality contributes",
        f"Shapley values of the {found['score']}: the mean gain from a modality over all orders in which "
        "they may come. They sum to what all modalities are worth beyond none.",
        ("modality", "contribution"),
        [(name, figure(value)) for name, value in found["contributions"].items()],
    )


def _subsets(found: Mapping[str, Any]) -> Table | None:
    return Table(
        "Every subset of the modalities",
        "The same trained network, with the other modalities absent.",
        ("modalities", found["score"]),
        [(" + ".join(names) or "none", figure(value)) for names, value in found["subsets"]],
    )


def _missing(found: Mapping[str, Any]) -> Table | None:
    explanation = "In this share of the samples."
    return _curves("A modality is missing", explanation, "share of the samples without it", found, "missing")


def _noise(found: Mapping[str, Any]) -> Table | None:
    explanation = "By this many standard deviations; of a text, this share of its tokens is replaced."
    return _curves("A modality is noisy", explanation, "noise", found, "noise")


def _curves(title: str, explanation: str, across: str, found: Mapping[str, Any], name: str) -> Table | None:
    curves, heading = found[name], f"{title}: {found['score']}"
    steps = [step for step, _ in next(iter(curves.values()))]
    rows = [(modality, *(figure(value) for _, value in curve)) for modality, curve in curves.items()]
    picture = embedded(curve_picture(curves, across, found["score"]), f"{heading}, over {across}")
    return Table(heading, explanation, ("modality", *map(figure, steps)), rows, picture)


def _gates(found: Mapping[str, Any]) -> Table | None:
    gates = found["gates"]
    if not gates:
        return None
    names = next(iter(gates.values()))
    return Table(
        "Weights of the modalities in the fusion, by class",
        "Means over the samples of a class.",
        ("class", *names),
        [(kind, *(figure(weights[name]) for name in names)) for kind, weights in gates.items()],
    )


def _calibration(found: Mapping[str, Any]) -> Table | None:
    calibration = found["calibration"]
    if not calibration:
        return None
    return Table(
        f"Calibration: expected error {figure(calibration['ece'])}",
        "How often the network is right when it is so sure; the two agree in a calibrated network.",
        ("sure by", "right in", "samples"),
        [
            (figure(one["confidence"]), figure(one["accuracy"]), figure(one["count"]))
            for one in calibration["bins"]
        ],
    )


def _confusion(found: Mapping[str, Any]) -> Table | None:
    if not found["confusion"]:
        return None
    return Table(
        "Confusion",
        "Samples of the class of a row that were taken for the class of a column.",
        ("class", *found["classes"]),
        [(kind, *map(figure, row)) for kind, row in zip(found["classes"], found["confusion"], strict=True)],
    )
