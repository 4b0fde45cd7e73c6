"""Which sample is in which split."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.seeds import derive

SPLITS = ("train", "validation", "test")
CODES = {
    "train": 0, "training": 0,
    "validation": 1, "valid": 1, "val": 1, "dev": 1,
    "test": 2, "testing": 2,
}  # fmt: skip


def assign(
    strata: Sequence[Hashable],
    named: Sequence[Any] | None,
    groups: Sequence[Any] | None,
    shares: tuple[float, float],
    seed: int,
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """The split of every row (0 training, 1 validation, 2 test), and what is wrong with rows, by row.

    What `named` does not decide is drawn: of a table with training and test rows the validation rows are
    drawn from those for training. A stratum always keeps something in training.

    Args:
        strata: What the drawn splits have in like shares, by row.
        named: The split that the data name, by row; None where they name none.
        groups: No value is in two splits that are drawn, by row; a row without one is on its own.
        shares: Of validation and test, where they are drawn.
        seed: Seed of the draw.

    Raises:
        ValueError: The shares leave nothing to train on.
    """
    validation, test = shares
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(
            f"the shares validation {validation} and test {test} must leave some rows for training"
        )
    named = ["train"] * len(strata) if named is None else named
    cells = ["" if cell is None else str(cell).strip() for cell in named]
    codes = [CODES.get(cell.lower()) for cell in cells]
    bad = {
        row: f"{cells[row]!r} is no split; allowed: train, validation, test"
        for row, code in enumerate(codes)
        if code is None
    }
    members = np.array([code or 0 for code in codes], np.int64)
    units: list[Hashable] = [
        ("row", row) if group is None else str(group)
        for row, group in enumerate(groups or [None] * len(strata))
    ]
    left = 1.0
    for code, share in ((2, test), (1, validation)):
        if not (members == code).any():
            _draw(members, strata, units, code, share / left, seed)
            left -= share
    return members, bad


def _draw(
    members: NDArray[np.int64],
    strata: Sequence[Hashable],
    units: Sequence[Hashable],
    code: int,
    share: float,
    seed: int,
) -> None:
    """Move a share of the training rows to another split: stratum by stratum, and only whole units."""
    rng = np.random.default_rng(derive(seed, "split", code))
    rows_of: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(members == 0).tolist():
        rows_of.setdefault(units[row], []).append(row)
    units_of: dict[Hashable, list[Hashable]] = {}
    for unit, own in rows_of.items():
        [(stratum, _)] = Counter(strata[row] for row in own).most_common(1)
        units_of.setdefault(stratum, []).append(unit)
    owed = 0.0
    for stratum in sorted(units_of, key=str):
        own_units = units_of[stratum]
        owed += share * sum(len(rows_of[unit]) for unit in own_units)
        for place in rng.permutation(len(own_units))[:-1]:
            rows = rows_of[own_units[place]]
            if owed < len(rows) / 2:
                break
            members[rows] = code
            owed -= len(rows)
