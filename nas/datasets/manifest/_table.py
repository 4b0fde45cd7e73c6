"""The table: columns of cells, as they stand in the file."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import RequestError

LARGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        file: Where it was read.
        columns: Cells by column; None or an empty string where there is nothing.
    """

    file: Path
    columns: Mapping[str, list[Any]]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.file.parent


def read_table(file: Path) -> Table:
    """Read a CSV or Parquet file.

    Raises:
        RequestError: It is not there, is neither of the two, or is damaged.
    """
    if not file.is_file():
        raise RequestError(f"the manifest {file} does not exist")
    if file.suffix.lower() == ".csv":
        return _with_rows(Table(file, _read_csv(file)))
    if file.suffix.lower() in (".parquet", ".pq"):
        return _with_rows(Table(file, _read_parquet(file)))
    raise RequestError(f"the manifest {file} is neither a .csv nor a .parquet file")


def _read_csv(file: Path) -> dict[str, list[Any]]:
    csv.field_size_limit(LARGEST_CELL)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, strict=True) if row]
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise RequestError(f"{file} is not a CSV file: {error}") from None
    if not rows:
        raise RequestError(f"{file} is empty; its first line must name the columns")
    header = [name.strip() for name in rows[0]]
    _check_header(file, header)
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise RequestError(f"{file}: row {number} has {len(row)} cells, and the header {len(header)}")
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(header)}


def _read_parquet(file: Path) -> dict[str, list[Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        read = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{file} is not a Parquet file: {str(error).splitlines()[0]}") from None
    _check_header(file, read.column_names)
    return {name: read.column(name).to_pylist() for name in read.column_names}


def _with_rows(table: Table) -> Table:
    if not table.count:
        raise RequestError(f"{table.file} has a header and no rows")
    return table


def _check_header(file: Path, header: list[str]) -> None:
    if not header:
        raise RequestError(f"{file} has no columns")
    for name in header:
        if not name:
            raise RequestError(f"{file}: column {header.index(name) + 1} has no name")
        if header.count(name) > 1:
            raise RequestError(f"{file} has {header.count(name)} columns of the name {name!r}")
