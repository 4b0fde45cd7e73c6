"""From the cells of a table to one modality of all samples: one reader per kind."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.datasets._blobs import blob, decode
from nas.datasets._cache import Cache
from nas.datasets._columns import MOST, Column, listed, missing, number
from nas.datasets._encoded import Encoded, moments
from nas.datasets._media import log_mel, picture, waveform
from nas.datasets._table import Table
from nas.datasets._texts import GivenTokenizer, learn, tokenised
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
        learnt: What was learnt from the training rows of another table, which counts then; None where
            it has to be learnt from these.
    """

    table: Table
    name: str
    column: Column
    training: NDArray[np.bool_]
    cache: Cache
    learnt: Mapping[str, Any] | None = None

    @property
    def key(self) -> list[Any]:
        """JSON data that tell this source from any other."""
        options = dict(self.column.options)
        training = np.packbits(self.training).tobytes().hex() if self.learnt is None else self.learnt
        return [self.column.kind, self.column.names, options, self.table.digest, training]

    def cells(self) -> list[Sequence[Any]]:
        """The cells of each of its columns."""
        return [self.table.columns[name] for name in self.column.names]


def read(
    table: Table,
    columns: Mapping[str, Column],
    cache: Cache,
    training: NDArray[np.bool_],
    learnt: Mapping[str, Mapping[str, Any]] = {},
) -> dict[str, Encoded]:
    """Modalities by name, each read as its kind asks for, and as what was `learnt` of it before says."""
    return {
        name: _READERS[column.kind](Source(table, name, column, training, cache, learnt.get(name)))
        for name, column in columns.items()
    }


def _blobs(source: Source, shape: tuple[int, ...], dtype: Any, read: Callable[[bytes], Any]) -> Encoded:
    """Pictures or sounds, to be normalised per channel by the training rows that have them."""
    [name], column = source.column.names, source.column
    blobs = [blob(cell, source.table.folder) for cell in source.cells()[0]]
    key = [column.kind, dict(column.options)]
    decoded = decode((source.table.name, name), blobs, read, shape, dtype, source.cache, key)
    bad = {row: f"column {name}: {reason}" for row, reason in decoded.bad.items()}
    if source.learnt is None:
        training = decoded.rows[source.training & (decoded.rows >= 0)]
        mean, scale = moments(decoded.array, training, (0, *range(2, decoded.array.ndim)))
    else:
        mean, scale = (np.array(source.learnt[name], np.float32) for name in ("mean", "scale"))
    learnt = {"mean": mean.tolist(), "scale": scale.tolist()}
    spec = ModalitySpec(column.kind, shape)
    return Encoded(spec, decoded.array, decoded.rows, bad, mean, scale, learnt=learnt)


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
    if source.learnt is not None:
        return encoded_texts(texts, lambda: dict(source.learnt or {}), source.key, source.cache)
    options, path = source.column.options, ("modalities", source.name, "tokenizer")
    tokenizer = GivenTokenizer.named(options["tokenizer"], source.table.folder, path)
    training = [text for text, own in zip(texts, source.training, strict=True) if own and text is not None]
    key = [*source.key, tokenizer and tokenizer.digest()]
    return encoded_texts(texts, lambda: learn(training, options, tokenizer), key, source.cache)


def encoded_texts(
    texts: Sequence[str | None], learn: Callable[[], dict[str, Any]], key: Sequence[Any], cache: Cache
) -> Encoded:
    """Texts as one modality.

    Args:
        texts: By sample; None where there is none.
        learn: Gives the tokenizer, as `nas.datasets._texts.learn` does; called where the cache has nothing.
        key: JSON data that tell these texts and their tokenizer from any others.
        cache: Where the token ids are kept.
    """

    def make() -> tuple[NDArray[np.int32], dict[str, Any]]:
        learnt = learn()
        return tokenised(texts, learnt), learnt

    array, learnt = cache.array(key, make)
    ids, masks = (array, None) if array.ndim == 2 else (array[:, 0], array[:, 1])
    rows = np.where([text is not None for text in texts], np.arange(len(texts)), -1)
    return Encoded(ModalitySpec("text", ids.shape[1:], learnt["size"]), ids, rows, masks=masks, learnt=learnt)


@dataclass(frozen=True)
class _Numbers:
    """Normalised numbers of all rows.

    Args:
        array: `(N, D)`.
        there: Where they are there, `(N,)`.
        bad: What is wrong with rows.
        learnt: What the training rows have taught, as JSON data.
        widths: How many of the numbers belong to each column of a table.
    """

    array: NDArray[np.float64]
    there: NDArray[np.bool_]
    bad: dict[int, str]
    learnt: Mapping[str, Any]
    widths: tuple[int, ...] | None = None


def _numbers(source: Source, make: Callable[[Source], _Numbers]) -> Encoded:
    """Numbers that are normalised and kept as `make` gives them."""

    def made() -> tuple[NDArray[np.float32], dict[str, Any]]:
        found = make(source)
        rows = np.where(found.there, np.arange(len(found.array)), -1).tolist()
        details = {"rows": rows, "bad": found.bad, "learnt": found.learnt, "widths": found.widths}
        return found.array.astype(np.float32), details

    array, details = source.cache.array(source.key, made)
    bad = {int(row): reason for row, reason in details["bad"].items()}
    widths = None if details["widths"] is None else tuple(details["widths"])
    spec = ModalitySpec("vector", (array.shape[1],), columns=widths)
    return Encoded(spec, array, np.array(details["rows"], np.int64), bad, learnt=details["learnt"])


def _vectors(source: Source) -> _Numbers:
    """Numbers in several columns, or as a list in one; standardised on the training rows."""
    names, learnt = ", ".join(source.column.names), source.learnt
    rows = [_vector(cells) for cells in zip(*source.cells(), strict=True)]
    lengths = Counter(len(row) for row in rows if isinstance(row, list))
    width = len(learnt["mean"]) if learnt else lengths.most_common(1)[0][0] if lengths else 1
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
    learnt = learnt or _spread(array[source.training & there])
    return _Numbers(_standardised(array, learnt), there, bad, learnt)


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


def _tables(source: Source) -> _Numbers:
    """Numbers, standardised, and categories, each a column of zeros and ones.

    A number that is missing is the mean, and a column of which training cells are missing has another that
    says so; a category that is missing, or that the training rows do not have, is none.
    """
    parts: list[NDArray[np.float64]] = []
    bad: dict[int, str] = {}
    there = np.zeros(source.table.count, bool)
    learnt = source.learnt or {"columns": [*map(partial(_column, source), source.column.names)]}
    for name, cells, own in zip(source.column.names, source.cells(), learnt["columns"], strict=True):
        there |= np.array([not missing(cell) for cell in cells])
        if "categories" in own:
            parts.append(_categories(cells, own))
        else:
            bad = _not_numbers(cells, name) | bad
            parts.append(_amounts(cells, own))
    widths = tuple(part.shape[1] for part in parts if part.shape[1])
    return _Numbers(np.concatenate(parts, 1), there, bad, learnt, widths)


def _column(source: Source, name: str) -> dict[str, Any]:
    """What the training cells of a column of a table teach, as JSON data."""
    options = source.column.options
    training = [cell for cell, own in zip(source.table.columns[name], source.training, strict=True) if own]
    known = [cell for cell in training if not missing(cell)]
    numbers = [value for cell in known if (value := number(cell)) is not None]
    if name in options["categorical"] or len(known) - len(numbers) > (1 - MOST) * len(known):
        counts = Counter(map(str, known))
        names = sorted(sorted(counts), key=lambda name: -counts[name])[: options["categories"]]
        return {"categories": names, "others": len(counts) > len(names)}
    return _spread(np.array(numbers)[:, None]) | {"gaps": len(numbers) < len(training)}


def _categories(cells: Sequence[Any], learnt: Mapping[str, Any]) -> NDArray[np.float64]:
    """A column for each of the most frequent training categories, and one for the others if there are any."""
    names, others = learnt["categories"], learnt["others"]
    codes = {name: code for code, name in enumerate(names)}
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


def _amounts(cells: Sequence[Any], learnt: Mapping[str, Any]) -> NDArray[np.float64]:
    """Standardised numbers, 0 where there is none; and a column for where that is, if training has gaps."""
    values = np.array([math.nan if (value := number(cell)) is None else value for cell in cells])
    unknown = np.isnan(values)
    filled = _standardised(values[:, None], learnt)
    filled[unknown] = 0
    return np.concatenate([filled, unknown[:, None]], 1) if learnt["gaps"] else filled


def _spread(known: NDArray[np.float64]) -> dict[str, Any]:
    """Mean and deviation of known rows, as JSON data; a deviation of 0 becomes 1."""
    known = known if len(known) else np.zeros((1, *known.shape[1:]))
    deviation = known.std(0)
    return {"mean": known.mean(0).tolist(), "scale": np.where(deviation > 0, deviation, 1).tolist()}


def _standardised(array: NDArray[np.float64], learnt: Mapping[str, Any]) -> NDArray[np.float64]:
    """The array with a mean of 0 and a deviation of 1 over the rows that were learnt from."""
    standardised: NDArray[np.float64] = (array - np.array(learnt["mean"])) / np.array(learnt["scale"])
    return standardised


_READERS: Mapping[str, Callable[[Source], Encoded]] = {
    "image": _images,
    "audio": _sounds,
    "text": _texts,
    "vector": partial(_numbers, make=_vectors),
    "tabular": partial(_numbers, make=_tables),
}
