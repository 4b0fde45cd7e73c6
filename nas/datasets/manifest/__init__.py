"""`manifest`: a table with one row per sample, and the files that it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.datasets import Batch
from nas.datasets.manifest._cache import Cache
from nas.datasets.manifest._columns import declared, inferred
from nas.datasets.manifest._readers import READERS, Encoded, Source
from nas.datasets.manifest._split import assign
from nas.datasets.manifest._table import Table, read_table
from nas.errors import RequestError, near_misses
from nas.modality import Task
from nas.registry import register

SPLITS = ("train", "validation", "test")
SHOWN = 3


@register("dataset", "manifest")
class Manifest:
    """Samples listed in a CSV or Parquet file: pictures, sounds, texts, vectors and tables.

    Paths are relative to the file's folder. An empty cell is a missing modality. What has been decoded
    lies in a cache, by content, and is mapped into memory; a second start decodes nothing.

    Args:
        source: The file, `.csv` or `.parquet`, with a header.
        label: Column of the class.
        modalities: By name of the modality, its kind and its columns, such as `{photo: {image: file},
            caption: {text: words}, patient: {tabular: [age, city]}}`, with options of the kind beside
            them (`{image: file, size: 64}`); None infers one modality per column, and one of all
            numbers and categories.
        split: Column with `train`, `validation` or `test`; None draws the splits.
        group: Column of which no value may be in two splits that are drawn.
        validation: Share of the samples for validation, where it is drawn.
        test: Share of the samples for the test, where it is drawn.
        seed: Seed of the splits that are drawn; they are stratified by class.
        on_bad_row: `error` refuses a table with rows that cannot be used; `skip` leaves them out.
        cache: Folder of the cache; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for None.

    Raises:
        RequestError: The file, a column, a row or a file in it is not what it should be.
        ValueError: An option is not allowed.
    """

    def __init__(
        self,
        source: str,
        *,
        label: str,
        modalities: Mapping[str, Mapping[str, Any]] | None = None,
        split: str | None = None,
        group: str | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        on_bad_row: Literal["error", "skip"] = "error",
        cache: str | None = None,
    ) -> None:
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row must be 'error' or 'skip', not {on_bad_row!r}")
        table = read_table(Path(source))
        for role, name in (("label", label), ("split", split), ("group", group)):
            if name is not None and name not in table.columns:
                raise RequestError(f"{table.file} has no {role} column {near_misses_of(name, table)}")
        used = {name for name in (label, split, group) if name is not None}
        columns = declared(modalities, table) if modalities is not None else inferred(table, used)
        members = assign(table, label, split, group, (validation, test), seed)
        store = Cache(cache)
        encoded = {
            name: READERS[column.kind](Source(table, column, members == 0, store))
            for name, column in columns.items()
        }
        bad = _bad_rows(table, label, encoded)
        self.notes = _judge(table, bad, on_bad_row)
        names = [str(cell) for cell in table.columns[label]]
        kept = ~np.isin(np.arange(table.count), list(bad))
        classes = sorted({names[row] for row in np.flatnonzero(kept & (members == 0))}, key=_natural)
        _check_classes(table, label, classes, np.where(kept, members, -1))
        self.task = Task("classification", tuple(classes))
        self.modalities = {name: part.spec for name, part in encoded.items()}
        codes = {name: code for code, name in enumerate(classes)}
        labels = np.array([codes.get(name, 0) for name in names])
        self.splits = {
            name: MappedSplit(encoded, labels, np.flatnonzero(kept & (members == code)))
            for code, name in enumerate(SPLITS)
        }


@dataclass(frozen=True)
class MappedSplit:
    """A split whose samples are read from mapped files when a batch is asked for.

    Args:
        encoded: What was decoded, by modality.
        labels: Of all rows, `(N,)`.
        rows: Those of this split.
    """

    encoded: Mapping[str, Encoded]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        rows = self.rows[indices.cpu().numpy()]
        masks = {name: part.mask(rows) for name, part in self.encoded.items() if part.spec.kind == "text"}
        return Batch(
            {name: part.values(rows) for name, part in self.encoded.items()},
            torch.from_numpy(self.labels[rows]),
            masks,
            self._present(rows),
        )

    def _present(self, rows: NDArray[np.int64]) -> Tensor | None:
        if all(part.present.all() for part in self.encoded.values()):
            return None
        return torch.from_numpy(np.stack([part.present[rows] for part in self.encoded.values()], 1))


def near_misses_of(name: str, table: Table) -> str:
    """A column's name that is not there, with those that are."""
    return f"{name!r}; {near_misses(name, table.columns)}"


def _bad_rows(table: Table, label: str, encoded: Mapping[str, Encoded]) -> dict[int, str]:
    """Why rows cannot be used, by row."""
    bad: dict[int, str] = {}
    for row, value in enumerate(table.columns[label]):
        if value in (None, ""):
            bad[row] = f"column {label}: the label is empty"
    for part in encoded.values():
        for row, reason in part.bad.items():
            bad.setdefault(row, reason)
    present = np.stack([part.present for part in encoded.values()], 1).any(1)
    for row in np.flatnonzero(~present).tolist():
        bad.setdefault(row, "every modality is missing")
    return dict(sorted(bad.items()))


def _judge(table: Table, bad: Mapping[int, str], on_bad_row: str) -> list[str]:
    """What is to be said of bad rows.

    Raises:
        RequestError: There are some, and they may not be skipped; or nothing else is left.
    """
    if not bad:
        return []
    first = "; ".join(f"row {row + 1}, {reason}" for row, reason in list(bad.items())[:SHOWN])
    more = f"; {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    if on_bad_row == "error":
        raise RequestError(f"{table.file}: {first}{more}. Mend them, or leave them out with on_bad_row: skip")
    if len(bad) == table.count:
        raise RequestError(f"{table.file} has no row that can be used: {first}{more}")
    return [f"{table.file}: {len(bad)} of {table.count} rows are left out: {first}{more}"]


def _check_classes(table: Table, label: str, classes: Sequence[str], members: NDArray[np.int64]) -> None:
    """Every split has samples, and no class that is not trained; `members` is -1 for what is left out."""
    if len(classes) < 2:
        raise RequestError(
            f"{table.file}: column {label} has {len(classes)} class in the training split; there must be two"
        )
    for code, name in enumerate(SPLITS):
        if not (members == code).any():
            raise RequestError(
                f"{table.file}: the {name} split is empty; give more rows, or larger shares "
                "(validation, test)"
            )
    for row in np.flatnonzero(members > 0).tolist():
        if str(table.columns[label][row]) not in classes:
            raise RequestError(
                f"{table.file}: row {row + 1} is of the class {table.columns[label][row]!r}, "
                "which the training split does not have"
            )


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by size, before all else."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
