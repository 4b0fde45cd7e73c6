"""What has to be predicted: from label columns to a task and a tensor of labels."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.datasets._columns import MOST, listed, missing, number
from nas.datasets._table import Table
from nas.errors import RequestError
from nas.modality import Task

KINDS = ("classification", "multilabel", "regression")
TRUE, FALSE = {"1", "true", "yes", "t", "y"}, {"0", "false", "no", "f", "n"}
MOST_CLASSES = 100  # whole numbers of which there are more are amounts
STRATA = 10  # of labels that are numbers


@dataclass(frozen=True)
class Targets:
    """The labels of all rows, before classes are counted.

    Args:
        kind: One of `KINDS`.
        names: The columns.
        values: By row: the class; the set of its classes; or a tuple of numbers. None where it is bad.
        bad: Why rows have no label, by row.
    """

    kind: str
    names: tuple[str, ...]
    values: list[Any]
    bad: dict[int, str]

    def strata(self) -> Sequence[Hashable]:
        """What splits have in like shares: classes, sets of them, or tenths of the first number."""
        if self.kind == "classification":
            return [str(value) for value in self.values]
        if self.kind == "multilabel":
            return ["|".join(sorted(value or ())) for value in self.values]
        numbers = np.array([0.0 if value is None else value[0] for value in self.values])
        edges = np.quantile(numbers, np.linspace(0, 1, STRATA + 1)[1:-1])
        return np.searchsorted(np.unique(edges), numbers).tolist()

    def encoded(self, training: NDArray[np.bool_]) -> tuple[Task, NDArray[Any], dict[int, str]]:
        """The task, the labels of all rows as the loss takes them, and what is wrong with rows.

        Classes are those of the training rows. Labels are int64 `(N,)` of classes, or float32 `(N, C)`:
        one for each class that a sample has, or the numbers.
        """
        if self.kind == "regression":
            nothing = (0.0,) * len(self.names)
            numbers = np.array([value or nothing for value in self.values], np.float32)
            return Task("regression", self.names), numbers, {}
        several = self.kind == "multilabel"
        sets = [set() if value is None else set(value) if several else {value} for value in self.values]
        known = set().union(*(sets[row] for row in np.flatnonzero(training)))
        classes = self.names if len(self.names) > 1 else tuple(sorted(known, key=_natural))
        codes = {name: code for code, name in enumerate(classes)}
        bad = {
            row: f"the training split has no row of the class {min(own - codes.keys())!r}"
            for row, own in enumerate(sets)
            if own - codes.keys()
        }
        if several:
            labels = np.array([[name in own for name in classes] for own in sets], np.float32)
        else:
            labels = np.array([codes.get(value, 0) for value in self.values], np.int64)
        return Task(self.kind, classes), labels, bad


def read_labels(table: Table, names: Sequence[str], kind: str | None, separator: str) -> Targets:
    """The labels of a table.

    Args:
        table: The table.
        names: The label columns.
        kind: One of `KINDS`; None infers it from the cells.
        separator: What stands between the classes of a sample that has several.

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"task: {kind!r} is not allowed; give {', '.join(KINDS)}")
    rows = list(zip(*(table.columns[name] for name in names), strict=True))
    kind = kind or _infer(rows, separator)
    if kind == "classification" and len(names) > 1:
        raise ValueError(f"task: classification has one label column, not {len(names)}: {', '.join(names)}")
    if kind == "classification":
        rows = list(zip(_given([cell for (cell,) in rows]), strict=True))
    values: list[Any] = []
    bad: dict[int, str] = {}
    for row, cells in enumerate(rows):
        try:
            values.append(_value(kind, names, cells, separator))
        except ValueError as error:
            values.append(None)
            bad[row] = str(error)
    return Targets(kind, tuple(names), values, bad)


def check_labels(table: Table, task: Task, labels: NDArray[Any], training: NDArray[np.bool_]) -> None:
    """What is to be learned differs between training rows.

    Raises:
        RequestError: It does not.
    """
    if task.kind == "classification" and len(task.classes) < 2:
        raise RequestError(
            f"{table.name} has {len(task.classes)} class in the training split; there must be two"
        )
    if task.kind != "classification" and (labels[training] == labels[training][:1]).all():
        raise RequestError(f"{table.name} has the same label in every row of the training split")


def _infer(rows: Sequence[tuple[Any, ...]], separator: str) -> str:
    cells = [cell for row in rows for cell in row if cell is not None]
    if rows and len(rows[0]) > 1:
        flags = all(str(cell).lower() in TRUE | FALSE for cell in cells)
        return "multilabel" if flags else "regression"
    if any(isinstance(listed(cell), list) or separator in str(cell) for cell in cells):
        return "multilabel"
    cells = [cell for cell in cells if not (isinstance(cell, bool) or missing(cell))]
    numbers = [value for cell in cells if (value := number(cell)) is not None]
    if not numbers or len(numbers) < MOST * len(cells):
        return "classification"
    whole = all(value.is_integer() for value in numbers)
    return "classification" if whole and len(set(numbers)) <= MOST_CLASSES else "regression"


def _given(cells: Sequence[Any]) -> Sequence[Any]:
    """Classes, None for what is none: NaN, and among numbers all that people write where they have none."""
    known = [cell for cell in cells if not missing(cell)]
    numbers = bool(known) and all(number(cell) is not None for cell in known)
    return [None if missing(cell) and (numbers or str(cell).lower() == "nan") else cell for cell in cells]


def _value(kind: str, names: Sequence[str], cells: tuple[Any, ...], separator: str) -> Any:
    """The label of one row.

    Raises:
        ValueError: It has none; says why.
    """
    if kind == "multilabel" and len(names) == 1:
        return _classes(cells[0], separator)
    for name, cell in zip(names, cells, strict=True):
        if cell is None:
            raise ValueError(f"column {name}: the label is empty")
    if kind == "classification":
        return _name(cells[0])
    if kind == "multilabel":
        return tuple(name for name, cell in zip(names, cells, strict=True) if _flag(name, cell))
    values = [number(cell) for cell in cells]
    for name, cell, value in zip(names, cells, values, strict=True):
        if value is None:
            raise ValueError(f"column {name}: {cell!r} is not a number")
    return tuple(values)


def _classes(cell: Any, separator: str) -> tuple[str, ...]:
    """The classes in one cell: a list, or what the separator parts; none in an empty one."""
    cell = listed(cell)
    if cell is None:
        return ()
    parts = cell if isinstance(cell, list) else str(cell).split(separator)
    return tuple(name for name in (_name(part).strip() for part in parts) if name)


def _flag(name: str, cell: Any) -> bool:
    text = _name(cell).lower()
    if text not in TRUE | FALSE:
        raise ValueError(f"column {name}: {cell!r} is neither 1 nor 0")
    return text in TRUE


def _name(cell: Any) -> str:
    """A cell as the name of a class: a whole number is written without a point."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by size, before all else."""
    value = number(name)
    return (1, 0.0, name) if value is None else (0, value, name)
