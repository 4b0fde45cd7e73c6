"""What was found out about a trial's network after the search, where something was.

Two files in the folder of the trial are read: `retrained.json`, by `nas.retrain`, and
`understanding.json`: `{"contributions": {modality: value}, "robustness": {condition: value}}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.results.figures import figure
from nas.results.run_directory import RunDirectory

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Understanding:
    """What is stored of one trial.

    Args:
        number: Number of the trial.
        retrained: Objectives on the test split with mean and deviation, in words.
        contributions: What the network loses without each modality.
        robustness: What is left of its accuracy under each condition.
    """

    number: int
    retrained: Rows
    contributions: Mapping[str, float]
    robustness: Mapping[str, float]


def understanding(run: RunDirectory, number: int) -> Understanding | None:
    """What is stored beside a trial; None where nothing is."""
    retrained, found = (_read(run, number, name) for name in ("retrained.json", "understanding.json"))
    if not retrained and not found:
        return None
    return Understanding(
        number, _retrained(retrained), found.get("contributions", {}), found.get("robustness", {})
    )


def _read(run: RunDirectory, number: int, name: str) -> dict[str, Any]:
    file = run.trial(number) / name
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _retrained(stored: Mapping[str, Any]) -> Rows:
    seeds = len(stored.get("seeds", ()))
    return [
        (name, figure(found["mean"]) + (f" ± {figure(found['std'])}" if seeds > 1 and found["std"] else ""))
        for name, found in stored.get("summary", {}).items()
    ]
