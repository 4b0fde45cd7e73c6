"""`huggingface`: a dataset of the Hugging Face library `datasets`, from disk."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nas.datasets._assemble import Roles, assemble
from nas.datasets._cache import Cache
from nas.datasets._columns import declared, inferred
from nas.datasets._new_rows import learnt, unlabelled
from nas.datasets._readers import read
from nas.datasets._split import CODES
from nas.datasets._table import ArrowColumns, Table
from nas.datasets.unlabelled import Unlabelled
from nas.errors import RequestError
from nas.registry import register

SPLIT = "(split)"  # the column that says in which part of a dataset dictionary a row is
KINDS = {"Image": "image", "Audio": "audio"}


@register("dataset", "huggingface")
class HuggingFace:
    """Samples that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` has written.

    Pictures and sounds are decoded as those of a `manifest` are, into the same cache; class labels are known
    by their names. Parts called train, validation and test are the splits, and those that are missing are
    drawn. Needs the extra `datasets`.

    Args:
        source: The folder.
        label: Column of the class, of the classes of a sample, or of a number to predict; or several.
        task: As those of `manifest`, and so are all others.
        separator: See `manifest`.
        modalities: See `manifest`; None takes what the features say.
        split: See `manifest`; None takes the parts of a dataset dictionary.
        group: See `manifest`.
        validation: See `manifest`.
        test: See `manifest`.
        seed: See `manifest`.
        on_bad_row: See `manifest`.
        cache: See `manifest`.

    Raises:
        RequestError: The library or the folder is not there, or a column or a row is not what it should be.
        ValueError: An option is not allowed.
    """

    def __init__(
        self,
        source: str,
        *,
        label: str | Sequence[str] = "label",
        task: Literal["classification", "multilabel", "regression"] | None = None,
        separator: str = "|",
        modalities: Mapping[str, Mapping[str, Any]] | None = None,
        split: str | None = None,
        group: str | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        on_bad_row: Literal["error", "skip"] = "error",
        cache: str | None = None,
    ) -> None:
        parts, notes = _parts(Path(source))
        table = _table(Path(source), parts)
        named = split or (SPLIT if SPLIT in table.columns else None)
        roles = Roles(label, task, separator, named, group, (validation, test), seed)
        used = roles.used(table)
        if modalities is None:
            columns = inferred(table, used, _known(parts[0].features))
        else:
            columns = declared(modalities, list(table.columns), table.name, roles.labels)
        store = Cache.below(table.folder, cache)
        made = assemble(table, roles, partial(read, table, columns, store), on_bad_row)
        self.modalities, self.task = made.modalities, made.task
        self.splits, self.notes = made.splits, [*notes, *made.notes]
        self.learnt = learnt(columns, made.splits["train"].encoded)

    @classmethod
    def unlabelled(cls, source: str, learnt: Mapping[str, Any], modalities: Collection[str]) -> Unlabelled:
        """The rows of another folder, read as those of the one that `learnt` is from.

        Raises:
            RequestError: The library or the folder is not there, or a column is not what it should be.
        """
        parts, _ = _parts(Path(source))
        return unlabelled(_table(Path(source), parts), learnt, modalities)


@dataclass(frozen=True)
class _Part:
    """One dataset.

    Args:
        name: Its name in a dataset dictionary; None where it stands alone.
        rows: It, giving Arrow tables that nothing has decoded.
    """

    name: str | None
    rows: Any

    @property
    def features(self) -> Mapping[str, Any]:
        features: Mapping[str, Any] = self.rows.features
        return features

    @property
    def stamp(self) -> str:
        """What changes when its files do."""
        files = [Path(file["filename"]) for file in self.rows.cache_files]
        state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.blake2b(repr(state).encode(), digest_size=16).hexdigest()

    def column(self, name: str) -> Any:
        """A column as Arrow holds it."""
        return self.rows.select_columns([name])[:][name]


@dataclass(frozen=True)
class _Cell:
    """The bytes of a picture or a sound in a dataset; read when they are asked for."""

    column: Any
    row: int
    stamp: str

    def read(self) -> bytes:
        cell = self.column[self.row].as_py()
        content: bytes = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        return content

    def __str__(self) -> str:
        return "the cell"


def _parts(folder: Path) -> tuple[list[_Part], list[str]]:
    """The datasets in a folder, and what is to be said of those that are no splits."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError:
        raise RequestError(
            "the dataset huggingface needs the extra `datasets`: pip install 'small-world-nas[datasets]'"
        ) from None
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder; give one that `save_to_disk` has written")
    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # whatever the library makes of damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{folder} is not what `save_to_disk` writes ({reason})") from None
    if not isinstance(loaded, DatasetDict):
        return [_Part(None, loaded.with_format("arrow"))], []
    parts = [_Part(name, part.with_format("arrow")) for name, part in loaded.items() if name in CODES]
    if not parts:
        raise RequestError(f"{folder} has the parts {', '.join(loaded)}; none is train, validation or test")
    others = [name for name in loaded if name not in CODES]
    return parts, [f"{folder}: the part {name} is not used" for name in others]


def _table(folder: Path, parts: Sequence[_Part]) -> Table:
    if not sum(len(part.rows) for part in parts):
        raise RequestError(f"{folder} has no rows")
    names = {tuple(part.features) for part in parts}
    if len(names) > 1:
        raise RequestError(f"the parts of {folder} have different columns; give them the same")
    digest = "".join(part.stamp for part in parts)
    return Table(str(folder), folder, _Columns(parts), digest)


class _Columns(Mapping[str, Sequence[Any]]):
    """The columns of all parts, one below the other; only those that are asked for become Python objects."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self._names = [*parts[0].features, *([SPLIT] if parts[0].name else [])]

    def __getitem__(self, name: str) -> Sequence[Any]:
        return [cell for part in self._parts for cell in _cells(part, name)]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _cells(part: _Part, name: str) -> Sequence[Any]:
    if name == SPLIT:
        return [part.name] * len(part.rows)
    feature = part.features[name]
    if type(feature).__name__ in KINDS:
        column, stamp = part.column(name), part.stamp
        missing = column.is_null().to_pylist()
        return [
            None if gone else _Cell(column, row, f"{stamp}/{name}/{row}") for row, gone in enumerate(missing)
        ]
    cells = ArrowColumns(part.rows.select_columns([name])[:])[name]
    return [_named(cell, feature) for cell in cells]


def _named(cell: Any, feature: Any) -> Any:
    """A class, or a list of classes, by name; anything else as it is."""
    inner = getattr(feature, "feature", feature)
    if cell is None or type(inner).__name__ != "ClassLabel":
        return cell
    if isinstance(cell, list):
        return [inner.int2str(code) for code in cell]
    return inner.int2str(cell) if cell >= 0 else None  # -1 stands for no label


def _known(features: Mapping[str, Any]) -> dict[str, str]:
    """The kinds of the columns that hold pictures and sounds, whatever their files are called."""
    kinds = {name: KINDS.get(type(feature).__name__) for name, feature in features.items()}
    return {name: kind for name, kind in kinds.items() if kind}
