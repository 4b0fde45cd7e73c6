"""What is known of a trial as flat names and values, as other tools want it."""

import math
from collections.abc import Mapping
from typing import Any

from nas.results.records import Record


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are one finite number, but for the count of the epoch itself."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if name != "epoch"
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def settings(record: Record) -> dict[str, str | float]:
    """Every value of the architecture by its path of keys, such as `fusion.late.dropout: 0.1`."""
    return dict(_flat(record.architecture.to_data(), ""))


def _flat(tree: Mapping[str, Any], path: str) -> list[tuple[str, str | float]]:
    found: list[tuple[str, str | float]] = []
    for key, value in tree.items():
        own = f"{path}.{key}" if path else key
        if not isinstance(value, Mapping):
            found.append((own, value if isinstance(value, int | float) else str(value)))
        elif len(value) == 1 and isinstance(next(iter(value.values())), Mapping):
            [(name, settings)] = value.items()
            found += [(own, name), *_flat(settings, f"{own}.{name}")]
        else:
            found += _flat(value, own)
    return found
