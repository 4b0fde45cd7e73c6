"""A table of samples: columns of cells, as they stand in a file."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import RequestError

LARGEST_CELL = 10_000_000
DELIMITERS = ",;\t"
SAID_DELIMITER = re.compile(r"sep=([,;\t])\r?\n")  # a first line of Excel's
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
FILE_FIELDS = {"bytes", "path", "array", "sampling_rate"}  # of a struct that is a picture or a sound


@dataclass(frozen=True)
class Table:
    """A table of samples.

    Args:
        name: What errors call it.
        folder: Where relative paths in it start.
        columns: Cells by column; None where there is nothing.
        digest: Tells this content from any other.
        bad: Why rows cannot be used as they stand, by row.
    """

    name: str
    folder: Path
    columns: Mapping[str, Sequence[Any]]
    digest: str = ""
    bad: Mapping[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


def read_table(file: Path) -> Table:
    """Read a CSV file (with commas, semicolons or tabs) or a Parquet file.

    Raises:
        RequestError: It is not there, is neither of the two, or is damaged.
    """
    if file.is_dir():
        raise RequestError(f"the manifest {file} is a folder; give a .csv or a .parquet file")
    if not file.is_file():
        raise RequestError(f"the manifest {file} does not exist")
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".pq": _read_parquet}
    if file.suffix.lower() not in readers:
        raise RequestError(f"the manifest {file} is neither a .csv nor a .parquet file")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RequestError(f"the manifest {file} cannot be read: {error.strerror}") from None
    table = readers[file.suffix.lower()](file, content)
    if not table.count:
        raise RequestError(f"{file} has a header and no rows")
    return table


def _read_csv(file: Path, content: bytes) -> Table:
    csv.field_size_limit(LARGEST_CELL)
    try:
        text = content.decode("utf-8-sig")
        said = SAID_DELIMITER.match(text)
        text = text[said.end() :] if said else text
        delimiter = said[1] if said else max(DELIMITERS, key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        spell = DecimalComma.of if delimiter == ";" else str
        rows = [[spell(cell.strip()) for cell in row] for row in reader if row]
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise RequestError(f"{file} is not a CSV file: line {reader.line_num}: {error}") from None
    if not rows:
        raise RequestError(f"{file} is empty; its first line must name the columns")
    header, *rows = rows
    _check_header(file, header)
    width = len(header)
    bad = {
        index: f"{len(row)} cells, and the header has {width}"
        for index, row in enumerate(rows)
        if len(row) != width
    }
    whole = [(row + [""] * width)[:width] for row in rows]
    columns = {name: [row[place] or None for row in whole] for place, name in enumerate(header)}
    return Table(str(file), file.parent, columns, hashlib.blake2b(content).hexdigest(), bad)


def _read_parquet(file: Path, content: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(pyarrow.BufferReader(content))
        _check_header(file, opened.schema_arrow.names)
        read = opened.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{file} is not a Parquet file: {str(error).splitlines()[0]}") from None
    columns = ArrowColumns(read, str(file))
    return Table(str(file), file.parent, columns, hashlib.blake2b(content).hexdigest())


class DecimalComma(str):
    """A cell of a table with semicolons that may be a number with a decimal comma; its text stays."""

    def __float__(self) -> float:
        return float(self.replace(",", "."))

    @classmethod
    def of(cls, cell: str) -> str:
        """The cell as such, where it looks like one."""
        return cls(cell) if DECIMAL_COMMA.fullmatch(cell) else cell


class ArrowColumns(Mapping[str, Sequence[Any]]):
    """The columns of an Arrow table; only those that are asked for become Python objects.

    Args:
        table: The table.
        name: What errors call it; a column of values that are themselves made of named ones is refused
            then. None takes every column as it is.
    """

    def __init__(self, table: Any, name: str | None = None) -> None:
        self._table = table
        self._name = name
        self._seen: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if self._name and name in self and _is_nested(own := self._table.schema.field(name).type):
            raise RequestError(
                f"{self._name}: column {name!r} holds {own}, of which nothing can be learned; part it into "
                "columns of its own, or name others under modalities"
            )
        if name not in self._seen:
            self._seen[name] = [plain(value) for value in self._table.column(name).to_pylist()]
        return self._seen[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table.column_names

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __len__(self) -> int:
        return len(self._table.column_names)


def plain(value: Any) -> Any:
    """The value; None for those that mean nothing: an empty string, and a number that is none."""
    if isinstance(value, str):
        return value.strip() or None
    return None if isinstance(value, float) and value != value else value


def _is_nested(own: Any) -> bool:
    """Whether an Arrow type is made of named values, and no picture or sound."""
    from pyarrow import types

    if types.is_struct(own):
        return not {field.name for field in own} <= FILE_FIELDS
    inner = own.value_type if types.is_list(own) or types.is_large_list(own) else None
    return types.is_map(own) or types.is_union(own) or (inner is not None and _is_nested(inner))


def _check_header(file: Path, header: Sequence[str]) -> None:
    if not header:
        raise RequestError(f"{file} has no columns")
    for place, name in enumerate(header, 1):
        if not name:
            raise RequestError(
                f"{file}: column {place} has no name; give it one, or take it out (pandas: index=False)"
            )
        if header.count(name) > 1:
            raise RequestError(f"{file} has {header.count(name)} columns of the name {name!r}")
