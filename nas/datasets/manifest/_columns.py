"""Which columns make which modality."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.datasets.manifest._table import Table
from nas.errors import KeyPathError, RequestError, near_misses

KINDS: dict[str, dict[str, Any]] = {  # with the options and their defaults
    "image": {"size": 32, "channels": 3},
    "audio": {"rate": 16_000, "seconds": 2.0, "bands": 32, "frames": 64},
    "text": {"tokens": "characters", "vocabulary": 1000, "length": None},
    "vector": {},
    "tabular": {"categorical": ()},
}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SOUNDS = {".wav", ".ogg", ".flac", ".mp3", ".aiff", ".aif"}
FEW = 20


@dataclass(frozen=True)
class Column:
    """One modality of a manifest.

    Args:
        kind: `image`, `audio`, `text`, `vector` or `tabular`.
        names: Its columns.
        options: How it is read.
    """

    kind: str
    names: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def declared(modalities: Mapping[str, Mapping[str, Any]], table: Table) -> dict[str, Column]:
    """The modalities that an experiment declares.

    Raises:
        KeyPathError: A kind, an option or a column does not exist.
    """
    if not isinstance(modalities, Mapping) or not modalities:
        raise KeyPathError(
            ("modalities",), f"{modalities!r} declares nothing; write {{name: {{kind: column}}}}"
        )
    return {name: _declared(name, given, table) for name, given in modalities.items()}


def _declared(name: str, given: Any, table: Table) -> Column:
    path = ("modalities", name)
    kinds = [key for key in given if key in KINDS] if isinstance(given, Mapping) else []
    if len(kinds) != 1:
        raise KeyPathError(
            path,
            f"{given!r} does not name one kind; write {{KIND: column}} with a KIND of {', '.join(KINDS)}",
        )
    [kind] = kinds
    columns = given[kind] if isinstance(given[kind], list) else [given[kind]]
    for column in columns:
        if column not in table.columns:
            raise KeyPathError(
                (*path, kind),
                f"{column!r} is not a column of {table.file}; {near_misses(column, table.columns)}",
            )
    if len(columns) != 1 and kind not in ("vector", "tabular"):
        raise KeyPathError((*path, kind), f"takes one column, not {len(columns)}")
    options = {key: value for key, value in given.items() if key != kind}
    for key, value in options.items():
        _check_option((*path, key), kind, key, value)
    return Column(kind, tuple(columns), KINDS[kind] | options)


def _check_option(path: tuple[str, ...], kind: str, key: str, value: Any) -> None:
    if key not in KINDS[kind]:
        raise KeyPathError(path, f"{key!r} is not an option of {kind}; {near_misses(key, KINDS[kind])}")
    if key == "tokens":
        if value not in ("characters", "bpe"):
            raise KeyPathError(path, f"{value!r} is not allowed; Allowed: bpe, characters.")
    elif key == "channels":
        if value not in (1, 3):
            raise KeyPathError(path, f"{value!r} is not allowed; 1 is greyscale, 3 is colour")
    elif key != "categorical" and not (isinstance(value, int | float) and value > 0):
        raise KeyPathError(path, f"{value!r} is not allowed; it must be a number above 0")


def inferred(table: Table, used: set[str]) -> dict[str, Column]:
    """One modality per column of files or texts, and one of all numbers and categories.

    Raises:
        RequestError: There are no columns besides those that are used otherwise.
    """
    found: dict[str, Column] = {}
    tabular: list[str] = []
    for name in table.columns:
        if name in used:
            continue
        kind = _kind([cell for cell in table.columns[name] if cell not in (None, "")])
        if kind == "tabular":
            tabular.append(name)
        elif kind:
            found[name] = Column(kind, (name,), KINDS[kind])
    if tabular:
        found["tabular" if "tabular" not in found else "table"] = Column(
            "tabular", tuple(tabular), KINDS["tabular"]
        )
    if not found:
        raise RequestError(f"{table.file} has no columns to learn from, besides {', '.join(sorted(used))}")
    return found


def _kind(cells: list[Any]) -> str | None:
    """What the cells of a column are; None for a column of nothing."""
    if not cells:
        return None
    if all(isinstance(cell, list) for cell in cells):
        return "vector"
    suffixes = {Path(str(cell)).suffix.lower() for cell in cells}
    for kind, known in (("image", IMAGES), ("audio", SOUNDS)):
        if suffixes <= known:
            return kind
    if all(number(cell) is not None for cell in cells) or len(set(map(str, cells))) <= min(
        FEW, len(cells) // 5
    ):
        return "tabular"
    return "text"


def number(cell: Any) -> float | None:
    """The cell as a finite number; None where it is none."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
