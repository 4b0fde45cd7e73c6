"""From the cells of a table to one modality of all samples: one reader per kind."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.datasets._blobs import blob, decode
from nas.datasets._cache import Cache
from nas.datasets._columns import MOST, Column, listed, missing, number
from nas.datasets._encoded import Encoded, moments
from nas.datasets._media import log_mel, picture, waveform
from nas.datasets._table import Table
from nas.datasets._texts import GivenTokenizer, tokenised
from nas.modality import ModalitySpec


@dataclass(frozen=True)
class Source:
    """What a reader is given.

    Args:
        table: The table.
        name: Name of the modality.
        column: Which of the table's columns it is, and how it is read.
        training: Which of its rows are for training, `(N,)`.
        cache: Where decoded content is kept.
    """

    table: Table
    name: str
    column: Column
    training: NDArray[np.bool_]
    cache: Cache

    @property
    def key(self) -> list[Any]:
        """JSON data that tell this source from any other."""
        options = dict(self.column.options)
        training = np.packbits(self.training).tobytes().hex()
        return [self.column.kind, self.column.names, options, self.table.digest, training]

    def cells(self) -> list[Sequence[Any]]:
        """The cells of each of its columns."""
        return [self.table.columns[name] for name in self.column.names]


def read(
    table: Table, columns: Mapping[str, Column], cache: Cache, training: NDArray[np.bool_]
) -> dict[str, Encoded]:
    """Modalities by name, each read as its kind asks for."""
    return {
        name: _READERS[column.kind](Source(table, name, column, training, cache))
        for name, column in columns.items()
    }


def _blobs(source: Source, shape: tuple[int, ...], dtype: Any, read: Callable[[bytes], Any]) -> Encoded:
    """Pictures or sounds, to be normalised per channel by the training rows that have them."""
    [name], column = source.column.names, source.column
    blobs = [blob(cell, source.table.folder) for cell in source.cells()[0]]
    key = [column.kind, dict(column.options)]
    decoded = decode((source.table.name, name), blobs, read, shape, dtype, source.cache, key)
    bad = {row: f"column {name}: {reason}" for row, reason in decoded.bad.items()}
    learnt = decoded.rows[source.training & (decoded.rows >= 0)]
    mean, scale = moments(decoded.array, learnt, (0, *range(2, decoded.array.ndim)))
    return Encoded(ModalitySpec(column.kind, shape), decoded.array, decoded.rows, bad, mean, scale)


def _images(source: Source) -> Encoded:
    options = source.column.options
    shape = (options["channels"], options["size"], options["size"])
    return _blobs(source, shape, np.uint8, partial(picture, size=options["size"], channels=shape[0]))


def _sounds(source: Source) -> Encoded:
    options = dict(source.column.options)
    if options.pop("form") == "waveform":
        rate, seconds = options["rate"], options["seconds"]
        shape = (1, round(rate * seconds))
        return _blobs(source, shape, np.int16, partial(waveform, rate=rate, seconds=seconds))
    return _blobs(source, (1, options["bands"], options["frames"]), np.float32, partial(log_mel, **options))


def _texts(source: Source) -> Encoded:
    texts = [None if cell is None else str(cell) for cell in source.cells()[0]]
    options, path = source.column.options, ("modalities", source.name, "tokenizer")
    tokenizer = GivenTokenizer.named(options["tokenizer"], source.table.folder, path)
    return encoded_texts(texts, source.training, options, tokenizer, source.key, source.cache)


def encoded_texts(
    texts: Sequence[str | None],
    training: NDArray[np.bool_],
    options: Mapping[str, Any],
    tokenizer: GivenTokenizer | None,
    key: Sequence[Any],
    cache: Cache,
) -> Encoded:
    """Texts as one modality.

    Args:
        texts: By sample; None where there is none.
        training: Which samples are for training, `(N,)`.
        options: Those of `tokenised`.
        tokenizer: A tokenizer that is taken instead of one that learns.
        key: JSON data that tell these texts, samples and options from any others.
        cache: Where the token ids are kept.

    Raises:
        KeyPathError: The file of the tokenizer holds none.
    """

    def make() -> tuple[NDArray[np.int32], dict[str, Any]]:
        array, vocabulary = tokenised(texts, training, options, tokenizer)
        return array, {"vocabulary": vocabulary}

    array, details = cache.array([*key, tokenizer and tokenizer.digest()], make)
    ids, masks = (array, None) if array.ndim == 2 else (array[:, 0], array[:, 1])
    rows = np.where([text is not None for text in texts], np.arange(len(texts)), -1)
    return Encoded(ModalitySpec("text", ids.shape[1:], details["vocabulary"]), ids, rows, masks=masks)


Numbers: TypeAlias = tuple[NDArray[np.float64], Any, dict[int, str], tuple[int, ...] | None]
"""An array, where it is there, bad rows, and how many of its numbers belong to each column of a table."""


def _numbers(source: Source, make: Callable[[Source], Numbers]) -> Encoded:
    """Numbers that are normalised and kept as `make` gives them."""

    def made() -> tuple[NDArray[np.float32], dict[str, Any]]:
        array, there, bad, columns = make(source)
        rows = np.where(there, np.arange(len(array)), -1).tolist()
        return array.astype(np.float32), {"rows": rows, "bad": bad, "columns": columns}

    array, details = source.cache.array(source.key, made)
    bad = {int(row): reason for row, reason in details["bad"].items()}
    columns = details["columns"]
    spec = ModalitySpec("vector", (array.shape[1],), columns=None if columns is None else tuple(columns))
    return Encoded(spec, array, np.array(details["rows"], np.int64), bad)


def _vectors(source: Source) -> Numbers:
    """Numbers in several columns, or as a list in one; standardised on the training rows."""
    names = ", ".join(source.column.names)
    rows = [_vector(cells) for cells in zip(*source.cells(), strict=True)]
    lengths = Counter(len(row) for row in rows if isinstance(row, list))
    width = lengths.most_common(1)[0][0] if lengths else 1
    bad = {
        index: f"column {names}: "
        + (row if isinstance(row, str) else f"{len(row)} numbers, where others have {width}")
        for index, row in enumerate(rows)
        if isinstance(row, str) or (row is not None and len(row) != width)
    }
    there = np.array([row is not None and index not in bad for index, row in enumerate(rows)])
    array = np.zeros((len(rows), width))
    for index in np.flatnonzero(there):
        array[index] = rows[index]
    return _standardised(array, source.training & there), there, bad, None


def _vector(cells: tuple[Any, ...]) -> list[float] | str | None:
    """The numbers of one row; None for a missing one, a reason for a bad one."""
    if len(cells) == 1:
        cells = _spelled(cells[0])
    if all(missing(cell) for cell in cells):
        return None
    found = [number(cell) for cell in cells]
    for cell, value in zip(cells, found, strict=True):
        if value is None:
            return f"{cell!r} is not a number"
    return [value for value in found if value is not None]


def _spelled(cell: Any) -> tuple[Any, ...]:
    """The parts of a cell that is a list, spells one, or has numbers between spaces, commas or semicolons."""
    cell = listed(cell)
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(cell) or (None,)
    return (
        tuple(cell.strip("[]").replace(",", " ").replace(";", " ").split())
        if isinstance(cell, str)
        else (cell,)
    )


def _tables(source: Source) -> Numbers:
    """Numbers, standardised, and categories, each a column of zeros and ones.

    A number that is missing is the mean, and a column of which training cells are missing has another that
    says so; a category that is missing is none.
    """
    options = source.column.options
    parts: list[NDArray[np.float64]] = []
    bad: dict[int, str] = {}
    there = np.zeros(source.table.count, bool)
    for name, cells in zip(source.column.names, source.cells(), strict=True):
        there |= np.array([not missing(cell) for cell in cells])
        known = [cell for cell, own in zip(cells, source.training, strict=True) if own and not missing(cell)]
        wrong = [cell for cell in known if number(cell) is None]
        if name in options["categorical"] or len(wrong) > (1 - MOST) * len(known):
            parts.append(_categories(cells, known, options["categories"]))
        else:
            bad = _not_numbers(cells, name) | bad
            parts.append(_amounts(cells, source.training))
    return np.concatenate(parts, 1), there, bad, tuple(part.shape[1] for part in parts if part.shape[1])


def _categories(cells: Sequence[Any], known: Sequence[Any], most: int) -> NDArray[np.float64]:
    """A column for each of the most frequent training categories, and one for the others if there are any."""
    counts = Counter(map(str, known))
    names = sorted(sorted(counts), key=lambda name: -counts[name])[:most]
    codes = {name: code for code, name in enumerate(names)}
    others = len(counts) > len(names)
    columns = np.zeros((len(cells), len(names) + others))
    for row, cell in enumerate(cells):
        if not missing(cell) and (others or str(cell) in codes):
            columns[row, codes.get(str(cell), len(names))] = 1
    return columns


def _not_numbers(cells: Sequence[Any], name: str) -> dict[int, str]:
    return {
        row: f"column {name}: {cell!r} is not a number"
        for row, cell in enumerate(cells)
        if not missing(cell) and number(cell) is None
    }


def _amounts(cells: Sequence[Any], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standardised numbers, 0 where there is none; and a column for where that is, if training has it."""
    values = np.array([math.nan if (value := number(cell)) is None else value for cell in cells])
    unknown = np.isnan(values)
    filled = _standardised(values[:, None], training & ~unknown)
    filled[unknown] = 0
    return np.concatenate([filled, unknown[:, None]], 1) if (unknown & training).any() else filled


def _standardised(array: NDArray[np.float64], training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The array with a mean of 0 and a deviation of 1 over the training rows."""
    known = array[training] if training.any() else np.zeros((1, *array.shape[1:]))
    deviation = known.std(0)
    return (array - known.mean(0)) / np.where(deviation > 0, deviation, 1)


_READERS: Mapping[str, Callable[[Source], Encoded]] = {
    "image": _images,
    "audio": _sounds,
    "text": _texts,
    "vector": partial(_numbers, make=_vectors),
    "tabular": partial(_numbers, make=_tables),
}
