"""What was found out about a trial's network after the search: `understanding.json` in its folder.

`{"contributions": {modality: value}, "robustness": {condition: value}}`, either of which may be missing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from nas.results.run_directory import RunDirectory


@dataclass(frozen=True)
class Understanding:
    """What is stored of one trial.

    Args:
        number: Number of the trial.
        contributions: What the network loses without each modality.
        robustness: What is left of its first objective under each condition.
    """

    number: int
    contributions: Mapping[str, float]
    robustness: Mapping[str, float]


def understanding(run: RunDirectory, number: int) -> Understanding | None:
    """What is stored beside a trial; None where nothing is."""
    file = run.trial(number) / "understanding.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return Understanding(number, found.get("contributions", {}), found.get("robustness", {}))
