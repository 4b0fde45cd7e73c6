"""Which columns make which modality, and how they are read."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nas.datasets._table import Table
from nas.errors import KeyPathError, RequestError, near_misses

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SOUNDS = {".wav", ".ogg", ".flac", ".mp3", ".aiff", ".aif", ".opus"}
SOUND_STARTS = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"\xff\xfb", b"FORM")
NOTHING = {"na", "n/a", "nan", "null", "none", "-", "?"}  # what people write where they have no number
FEW = 20
LARGEST = 3e38
MOST = 0.9  # of the cells decide what a column is; the others are mistakes, and named


@dataclass(frozen=True)
class Option:
    """An option of a kind of modality.

    Args:
        default: Its value where none is given.
        fits: Whether a value is allowed.
        allowed: What is, for a person.
        instead_of: Options that have no effect beside this one.
    """

    default: Any
    fits: Callable[[Any], bool]
    allowed: str
    instead_of: tuple[str, ...] = ()


def _whole(default: int | None, low: int, high: int) -> Option:
    def fits(value: Any) -> bool:
        return type(value) is int and low <= value <= high

    return Option(default, fits, f"a whole number from {low} to {high}")


def _one_of(*values: Any) -> Option:
    """One of some values; the first is the default."""
    return Option(values[0], lambda value: value in values, " or ".join(map(str, values)))


def _path(instead_of: tuple[str, ...]) -> Option:
    return Option(None, lambda value: isinstance(value, str), "a path", instead_of)


def _names() -> Option:
    def fits(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)

    return Option((), fits, "a list of columns")


OPTIONS: dict[str, dict[str, Option]] = {
    "image": {"size": _whole(32, 2, 2048), "channels": _one_of(3, 1)},
    "audio": {
        "rate": _whole(16_000, 1000, 192_000),
        "seconds": Option(2.0, lambda value: _positive(value, 600), "a number of seconds up to 600"),
        "bands": _whole(32, 2, 512),
        "frames": _whole(64, 2, 10_000),
        "form": _one_of("spectrogram", "waveform"),
    },
    "text": {
        "tokens": _one_of("characters", "bpe"),
        "vocabulary": _whole(1000, 3, 1_000_000),
        "length": _whole(None, 1, 100_000),
        "tokenizer": _path(instead_of=("tokens", "vocabulary")),
    },
    "vector": {},
    "tabular": {"categorical": _names(), "categories": _whole(50, 1, 10_000)},
}


def _positive(value: Any, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= high


@dataclass(frozen=True)
class Column:
    """One modality.

    Args:
        kind: `image`, `audio`, `text`, `vector` or `tabular`.
        names: Its columns.
        options: How it is read.
    """

    kind: str
    names: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def declared(
    modalities: Any,
    there: Sequence[str],
    place: str,
    labels: Collection[str],
    kinds: Mapping[str, Mapping[str, Option]] = OPTIONS,
) -> dict[str, Column]:
    """The modalities that an experiment declares.

    Args:
        modalities: By name `{kind: column}` or `{kind: [columns]}`, with options of the kind beside it.
        there: Names of the columns that there are.
        place: Where they are, for a person.
        labels: Those that no modality may see.
        kinds: The kinds, with their options.

    Raises:
        KeyPathError: A name, a kind, an option or a column is not what it should be.
    """
    if not isinstance(modalities, Mapping) or not modalities:
        raise KeyPathError(
            ("modalities",), f"{modalities!r} declares nothing; write {{name: {{kind: column}}}}"
        )
    return {
        str(name): _declared(("modalities", str(name)), given, there, place, labels, kinds)
        for name, given in modalities.items()
    }


def _declared(
    path: tuple[str, ...],
    given: Any,
    there: Sequence[str],
    place: str,
    labels: Collection[str],
    kinds: Mapping[str, Mapping[str, Option]],
) -> Column:
    if not _is_name(path[-1]):
        raise KeyPathError(
            path, f"{path[-1]!r} cannot name a modality, such as {_free_name(path[-1] or 'data', {})!r} can"
        )
    named = [key for key in given if key in kinds] if isinstance(given, Mapping) else []
    if len(named) != 1:
        raise KeyPathError(
            path,
            f"{given!r} does not name one kind; write {{KIND: column}} with a KIND of {', '.join(kinds)}",
        )
    [kind] = named
    columns = given[kind] if isinstance(given[kind], list) else [given[kind]]
    for column in columns:
        if column not in there:
            raise KeyPathError(
                (*path, kind), f"{column!r} is not a column of {place}; {near_misses(column, there)}"
            )
        if column in labels:
            raise KeyPathError((*path, kind), f"{column!r} is the label, which no modality may see")
    if not columns or (len(columns) > 1 and kind not in ("vector", "tabular")):
        raise KeyPathError((*path, kind), f"takes one column, not {len(columns)}")
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise KeyPathError((*path, kind), f"{twice[0]!r} is given twice")
    options = {key: value for key, value in given.items() if key != kind}
    for key, value in options.items():
        _check_option((*path, str(key)), kind, key, value, kinds[kind])
        for other in kinds[kind][key].instead_of:
            if other in options:
                raise KeyPathError((*path, other), f"is given beside {key!r}, which replaces it; keep one")
    for name in options.get("categorical", ()):
        if name not in columns:
            raise KeyPathError(
                (*path, "categorical"), f"{name!r} is not one of its columns; {near_misses(name, columns)}"
            )
    defaults = {key: option.default for key, option in kinds[kind].items()}
    return Column(kind, tuple(columns), defaults | options)


def _check_option(
    path: tuple[str, ...], kind: str, key: str, value: Any, options: Mapping[str, Option]
) -> None:
    if key not in options:
        raise KeyPathError(path, f"{key!r} is not an option of {kind}; {near_misses(key, options)}")
    if not options[key].fits(value):
        raise KeyPathError(path, f"{value!r} is not allowed; give {options[key].allowed}")


def inferred(table: Table, used: Mapping[str, str], known: Mapping[str, str] = {}) -> dict[str, Column]:
    """One modality per column of pictures, sounds, texts or vectors, and one of all numbers and categories.

    Args:
        table: The table.
        used: What the other columns are for, by name.
        known: Kinds of columns that are certain, by name.

    Raises:
        RequestError: There is nothing to learn from.
    """
    kinds = {
        name: known.get(name) or _kind([cell for cell in table.columns[name] if cell is not None])
        for name in table.columns
        if name not in used
    }
    alone = {name: kind for name, kind in kinds.items() if kind and kind != "tabular"}
    tabular = tuple(name for name, kind in kinds.items() if kind == "tabular")
    found = {_free_name(name, {}): Column(kind, (name,), _defaults(kind)) for name, kind in alone.items()}
    if tabular:
        found[_free_name("tabular", found)] = Column("tabular", tabular, _defaults("tabular"))
    if not found:
        raise RequestError(f"{table.name} has no columns to learn from, besides {', '.join(sorted(used))}")
    return found


def _defaults(kind: str) -> dict[str, Any]:
    return {key: option.default for key, option in OPTIONS[kind].items()}


def _is_name(name: str) -> bool:
    """Whether a modality may be called so: torch keeps its encoder under that name."""
    return bool(name) and "." not in name and not hasattr(nn.ModuleDict, name)


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    name = name.replace(".", "_")
    while not _is_name(name) or name in taken:
        name += "_"
    return name


def _kind(cells: list[Any]) -> str | None:
    """What the cells of a column are, judged by most of them; None for a column of nothing."""
    if not cells:
        return None
    suffixes = [_suffix(cell) for cell in cells]
    if _most(suffix in IMAGES for suffix in suffixes):
        return "image"
    if _most(suffix in SOUNDS for suffix in suffixes):
        return "audio"
    if _most(isinstance(listed(cell), list) for cell in cells):
        return "vector"
    if _most(number(cell) is not None or missing(cell) for cell in cells):
        return "tabular"
    few = len(set(map(str, cells))) <= min(FEW, len(cells) // 5)
    return "tabular" if few else "text"


def _suffix(cell: Any) -> str:
    """The suffix of the file that a cell names or holds; an empty string for anything else."""
    if isinstance(cell, Mapping):
        cell = cell.get("path") or cell.get("bytes")
    if isinstance(cell, bytes):
        return ".wav" if cell.startswith(SOUND_STARTS) else ".png"
    return Path(cell).suffix.lower() if isinstance(cell, str) else ""


def _most(answers: Any) -> bool:
    answers = list(answers)
    return sum(answers) >= MOST * len(answers)


def number(cell: Any) -> float | None:
    """The cell as a number that a float32 can hold; None where it is none."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if abs(value) <= LARGEST else None


def missing(cell: Any) -> bool:
    """Whether there is no number, in one of the ways that people write that."""
    return cell is None or (isinstance(cell, str) and cell.lower() in NOTHING)


def listed(cell: Any) -> Any:
    """The cell; the list that it spells, where it does."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell
