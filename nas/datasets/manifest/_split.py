"""Which sample is in which split."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.datasets.manifest._table import Table
from nas.errors import RequestError
from nas.seeds import derive

CODES = {
    "train": 0, "training": 0,
    "validation": 1, "valid": 1, "val": 1, "dev": 1,
    "test": 2, "testing": 2,
}  # fmt: skip


def assign(
    table: Table,
    label: str,
    split: str | None,
    group: str | None,
    shares: tuple[float, float],
    seed: int,
) -> NDArray[np.int64]:
    """The split of every row: 0 training, 1 validation, 2 test.

    What the table does not decide is drawn: of a table with training and test rows the validation rows
    are drawn from those for training.

    Raises:
        RequestError: A cell of the split column names none.
        ValueError: The shares leave nothing to train on.
    """
    validation, test = shares
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(
            f"the shares validation {validation} and test {test} must leave some rows for training"
        )
    labels = [str(cell) for cell in table.columns[label]]
    units: list[Hashable] = list(range(table.count))
    if group is not None:
        units = [str(cell) for cell in table.columns[group]]
    if split is None:
        members = np.zeros(table.count, np.int64)
        _draw(members, labels, units, 2, test, seed)
        _draw(members, labels, units, 1, validation / (1 - test), seed)
        return members
    members = np.array([_code(table, split, row) for row in range(table.count)], np.int64)
    for code, share in ((2, test), (1, validation)):
        if not (members == code).any():
            _draw(members, labels, units, code, share, seed)
    return members


def _code(table: Table, split: str, row: int) -> int:
    cell: Any = table.columns[split][row]
    code = CODES.get(str(cell).strip().lower())
    if code is None:
        raise RequestError(
            f"{table.file}: row {row + 1}, column {split}: {cell!r} is no split; "
            "Allowed: train, validation, test."
        )
    return code


def _draw(
    members: NDArray[np.int64],
    labels: Sequence[str],
    units: Sequence[Hashable],
    code: int,
    share: float,
    seed: int,
) -> None:
    """Move a share of the training rows to another split: class by class, and only whole units."""
    rng = np.random.default_rng(derive(seed, "split", code))
    rows_of: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(members == 0).tolist():
        rows_of.setdefault(units[row], []).append(row)
    strata: dict[str, list[Hashable]] = {}
    for unit, own in rows_of.items():
        strata.setdefault(labels[own[0]], []).append(unit)
    owed = 0.0
    for name in sorted(strata):
        stratum = strata[name]
        owed += share * sum(len(rows_of[unit]) for unit in stratum)
        for unit in (stratum[index] for index in rng.permutation(len(stratum))):
            size = len(rows_of[unit])
            if owed < size / 2:
                break
            members[rows_of[unit]] = code
            owed -= size
