"""New rows of a table, read with what was learnt from the training rows of another."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from nas.datasets._cache import Cache
from nas.datasets._columns import Column, missing
from nas.datasets._encoded import Encoded, MappedSplit
from nas.datasets._readers import read
from nas.datasets._table import Table
from nas.datasets.unlabelled import Unlabelled
from nas.errors import RequestError
from nas.modality import ModalitySpec

FILES = ("image", "audio")  # are decoded as their options say; of other kinds what was learnt says it all


def learnt(columns: Mapping[str, Column], encoded: Mapping[str, Encoded]) -> dict[str, Any]:
    """What `unlabelled` needs, as JSON data: by modality its columns, and what training rows have taught."""
    return {
        name: {
            "kind": column.kind,
            "columns": list(column.names),
            "options": dict(column.options) if column.kind in FILES else {},
            "learnt": encoded[name].learnt,
        }
        for name, column in columns.items()
    }


def unlabelled(table: Table, learnt: Mapping[str, Any], modalities: Collection[str]) -> Unlabelled:
    """The rows of a table, in its order; labels, and columns of other modalities, need not be there.

    Args:
        table: The table.
        learnt: What the function of that name has given.
        modalities: Those that are read; all others are missing.

    Raises:
        RequestError: A column is not there.
    """
    columns = {
        name: Column(known["kind"], tuple(known["columns"]), known["options"])
        for name, known in learnt.items()
        if name in modalities
    }
    _check_columns(table, columns)
    taught = {name: learnt[name]["learnt"] for name in columns}
    encoded = read(table, columns, Cache(), np.zeros(table.count, bool), taught)
    bad = dict(table.bad)
    for part in encoded.values():
        bad = dict(part.bad) | bad
    there = np.stack([part.present for part in encoded.values()], 1).any(1)
    nothing = f"every modality that the network reads is missing: {', '.join(columns)}"
    bad = dict.fromkeys(np.flatnonzero(~there).tolist(), nothing) | bad
    parts = {name: encoded.get(name) or _absent(table.count) for name in learnt}
    split = MappedSplit(parts, np.arange(table.count), torch.zeros(table.count, dtype=torch.int64))
    return Unlabelled(split, bad, tuple(_strange(table, columns, taught)))


def _absent(count: int) -> Encoded:
    return Encoded(ModalitySpec("vector", (1,)), np.zeros((0, 1), np.float32), np.full(count, -1))


def _check_columns(table: Table, columns: Mapping[str, Column]) -> None:
    lacking = [
        f"{column!r} ({modality.kind}, for the modality {name})"
        for name, modality in columns.items()
        for column in modality.names
        if column not in table.columns
    ]
    if lacking:
        raise RequestError(
            f"{table.name} lacks columns that the network was trained on: {', '.join(lacking)}; "
            f"it has {', '.join(table.columns)}"
        )


def _strange(table: Table, columns: Mapping[str, Column], taught: Mapping[str, Any]) -> Iterator[str]:
    """A note for every column with categories that count as none, because no training row has them."""
    tables = {name: column for name, column in columns.items() if column.kind == "tabular"}
    for name, modality in tables.items():
        for column, known in zip(modality.names, taught[name]["columns"], strict=True):
            if "categories" not in known or known["others"]:
                continue
            cells = enumerate(table.columns[column], start=1)
            new = [
                (n, cell) for n, cell in cells if not missing(cell) and str(cell) not in known["categories"]
            ]
            if new:
                yield (
                    f"column {column}: {len(new)} of {table.count} rows have a category that no training row "
                    f"had, and that counts as none: first row {new[0][0]}, {new[0][1]!r}"
                )
