"""From modalities, labels and splits to what the engine asks of a dataset; bad rows are judged here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.datasets._encoded import Encoded, MappedSplit
from nas.datasets._labels import Targets, check_labels, read_labels
from nas.datasets._split import SPLITS, assign
from nas.datasets._table import Table
from nas.errors import KeyPathError, RequestError, first_rows, near_misses
from nas.modality import ModalitySpec, Task


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for that no modality may see, and how splits are drawn.

    Args:
        label: The label column, or several.
        task: `classification`, `multilabel` or `regression`; None infers it.
        separator: What stands between the classes of a sample that has several.
        split: Column with `train`, `validation` or `test`; None draws the splits.
        group: Column of which no value may be in two splits that are drawn.
        shares: Of validation and test, where they are drawn.
        seed: Seed of the splits that are drawn.

    Raises:
        KeyPathError: One of these is of another kind.
    """

    label: str | Sequence[str]
    task: str | None = None
    separator: str = "|"
    split: str | None = None
    group: str | None = None
    shares: tuple[float, float] = (0.15, 0.15)
    seed: int = 0

    def __post_init__(self) -> None:
        labels = [self.label] if isinstance(self.label, str) else self.label
        if not isinstance(labels, list | tuple) or not labels or len({*map(str, labels)}) < len(labels):
            raise _not_allowed("label", self.label, "the name of a column, or a list of different ones")
        for option in ("split", "group"):
            if not isinstance(getattr(self, option), str | None):
                raise _not_allowed(option, getattr(self, option), "the name of a column")
        if not isinstance(self.separator, str) or not self.separator:
            raise _not_allowed("separator", self.separator, "the text between two classes")
        for option, share in zip(("validation", "test"), self.shares, strict=True):
            if isinstance(share, bool) or not isinstance(share, int | float):
                raise _not_allowed(option, share, "a share between 0 and 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise _not_allowed("seed", self.seed, "a whole number")

    @property
    def labels(self) -> list[str]:
        """The label columns."""
        return [self.label] if isinstance(self.label, str) else list(self.label)

    def used(self, table: Table) -> dict[str, str]:
        """The columns that are used, and what for.

        Raises:
            RequestError: One of them is not there.
        """
        columns = [(name, "label") for name in self.labels]
        columns += [(name, role) for name, role in ((self.split, "split"), (self.group, "group")) if name]
        for name, role in columns:
            if name not in table.columns:
                known = near_misses(name, table.columns)
                if len(table.columns) == 1:
                    known += " Columns are parted by commas, semicolons or tabs."
                raise RequestError(f"{table.name} has no {role} column {name!r}; {known}")
        return dict(columns)


@dataclass(frozen=True)
class Assembled:
    """A dataset's attributes.

    Args:
        modalities: By name.
        task: What has to be predicted.
        splits: `train`, `validation` and `test`.
        notes: What the report says of the data.
    """

    modalities: Mapping[str, ModalitySpec]
    task: Task
    splits: Mapping[str, MappedSplit]
    notes: Sequence[str]


def assemble(
    table: Table,
    roles: Roles,
    encode: Callable[[NDArray[np.bool_]], Mapping[str, Encoded]],
    on_bad_row: str | None = None,
) -> Assembled:
    """A dataset of the rows that can be used.

    Args:
        table: Where the rows are from.
        roles: Which of its columns are labels and splits.
        encode: From which rows may be learned from, `(N,)`, to the modalities of all rows.
        on_bad_row: `error` refuses rows that cannot be used; `skip` leaves them out. None where a dataset
            has no such option, and refuses them.

    Raises:
        RequestError: There are bad rows that may not be skipped, or too little is left.
        ValueError: An option is not allowed.
    """
    if on_bad_row not in (None, "error", "skip"):
        raise ValueError(f"on_bad_row must be 'error' or 'skip', not {on_bad_row!r}")
    targets = read_labels(table, roles.labels, roles.task, roles.separator)
    named, groups = (table.columns[name] if name else None for name in (roles.split, roles.group))
    codes, astray = assign(targets.strata(), named, groups, roles.shares, roles.seed)
    if not (codes == 0).any():
        raise RequestError(f"{table.name}: column {roles.split} names no row for training")
    astray = {row: f"column {roles.split}: {reason}" for row, reason in astray.items()}
    bad = astray | targets.bad | dict(table.bad)
    encoded = encode(_without(codes == 0, bad))
    for part in encoded.values():
        bad = dict(part.bad) | bad
    there = np.stack([part.present for part in encoded.values()], 1).any(1)
    bad = dict.fromkeys(np.flatnonzero(~there).tolist(), "every modality is missing") | bad
    task, labels, unseen = targets.encoded(_without(codes == 0, bad))
    bad = {row: reason for row, reason in unseen.items() if codes[row] > 0} | bad
    notes = _judge(table, bad, on_bad_row)
    members = {name: _without(codes == code, bad) for code, name in enumerate(SPLITS)}
    _check_splits(table, members, encoded, _why_empty(roles, targets))
    check_labels(table, task, labels, members["train"])
    splits = {
        name: MappedSplit(encoded, np.flatnonzero(own), torch.from_numpy(labels[own]))
        for name, own in members.items()
    }
    return Assembled({name: part.spec for name, part in encoded.items()}, task, splits, notes)


def _not_allowed(option: str, given: object, allowed: str) -> KeyPathError:
    return KeyPathError((option,), f"{given!r} is not allowed; give {allowed}")


def _without(rows: NDArray[np.bool_], bad: Mapping[int, Any]) -> NDArray[np.bool_]:
    kept = rows.copy()
    kept[list(bad)] = False
    return kept


def _judge(table: Table, bad: Mapping[int, str], on_bad_row: str | None) -> list[str]:
    """What is to be said of bad rows.

    Raises:
        RequestError: There are some, and they may not be skipped; or nothing else is left.
    """
    if not bad:
        return []
    first = first_rows(bad)
    if on_bad_row != "skip":
        way = ", or leave them out with on_bad_row: skip" if on_bad_row else ""
        raise RequestError(f"{table.name}: {first}. Mend them{way}")
    if len(bad) == table.count:
        raise RequestError(f"{table.name} has no row that can be used: {first}")
    return [f"{table.name}: {len(bad)} of {table.count} rows are left out: {first}"]


def _why_empty(roles: Roles, targets: Targets) -> str:
    """Why a split that was drawn may be empty, and what to do."""
    if roles.group:
        return (
            f"rows of one {roles.group} stay together; give more of them, or larger shares (validation, test)"
        )
    if targets.kind == "classification" and 2 * len(set(targets.values)) > len(targets.values):
        return "most classes have a single row, which is for training; give more rows of each"
    return "give more rows, or larger shares (validation, test)"


def _check_splits(
    table: Table, members: Mapping[str, NDArray[np.bool_]], encoded: Mapping[str, Encoded], why_empty: str
) -> None:
    for name, own in members.items():
        if not own.any():
            raise RequestError(f"{table.name}: the {name} split is empty; {why_empty}")
    for name, part in encoded.items():
        if not (part.present & members["train"]).any():
            raise RequestError(f"{table.name}: the modality {name} is missing in every row for training")
