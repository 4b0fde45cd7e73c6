"""From the cells of a column to tensors: one reader per kind."""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.datasets.manifest._cache import Cache, decode, fingerprints
from nas.datasets.manifest._columns import Column, number
from nas.datasets.manifest._table import Table
from nas.modality import ModalitySpec

WINDOW_SECONDS = 0.025
DECIBELS = 80.0
PADDING, UNKNOWN = 0, 1
LONGEST_TEXT = 128
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Source:
    """What a reader is given.

    Args:
        table: The table.
        column: Which of its columns, and how.
        training: Which of its rows are for training, `(N,)`.
        cache: Where decoded content is kept.
    """

    table: Table
    column: Column
    training: NDArray[np.bool_]
    cache: Cache

    def cells(self, name: str) -> list[Any]:
        """The cells of one column; None for an empty one."""
        return [None if cell in (None, "") else cell for cell in self.table.columns[name]]


@dataclass(frozen=True)
class Encoded:
    """One modality of all rows.

    Args:
        spec: What an encoder is told of it.
        array: `(N, …)`; zeros where it is missing.
        present: Where it is there, `(N,)`.
        bad: Why rows cannot be read, by row.
        mean: Subtracted from floats, of a shape that fits; None for token ids.
        scale: Divides them then.
    """

    spec: ModalitySpec
    array: NDArray[Any]
    present: NDArray[np.bool_]
    bad: Mapping[int, str] = field(default_factory=dict)
    mean: NDArray[np.float32] | None = None
    scale: NDArray[np.float32] | None = None

    def values(self, rows: NDArray[np.int64]) -> Tensor:
        """The inputs of some rows, normalised."""
        chosen = np.asarray(self.array[rows])
        if self.mean is None or self.scale is None:
            return torch.from_numpy(chosen.astype(np.int64))
        return torch.from_numpy((chosen.astype(np.float32) - self.mean) / self.scale)

    def mask(self, rows: NDArray[np.int64]) -> Tensor:
        """True for real tokens of some rows."""
        return torch.from_numpy(np.asarray(self.array[rows]) != PADDING)


def _files(source: Source) -> list[Path | None]:
    [name] = source.column.names
    return [None if cell is None else source.table.folder / str(cell) for cell in source.cells(name)]


def _decoded(source: Source, read: Any, shape: tuple[int, ...], dtype: Any) -> Encoded:
    """Files as arrays of one shape, normalised per channel over the training rows that have them."""
    files, [name] = _files(source), source.column.names
    key = [source.column.kind, dict(source.column.options), fingerprints(files)]
    array, details = source.cache.get(key, lambda: decode(name, files, read, shape, dtype))
    bad = {int(row): f"column {name}: {reason}" for row, reason in details["bad"].items()}
    present = np.array([file is not None for file in files]) & ~np.isin(np.arange(len(files)), list(bad))
    mean, scale = _moments(array, source.training & present, (0, 2, 3))
    return Encoded(ModalitySpec(source.column.kind, shape), array, present, bad, mean[0], scale[0])


def _moments(
    array: NDArray[Any], training: NDArray[np.bool_], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation over the training rows, a few thousand of which say enough."""
    rows = np.flatnonzero(training)
    chosen = np.asarray(array[rows[:: max(1, len(rows) // 5000)]], dtype=np.float64)
    if not len(chosen):
        chosen = np.zeros((1, *array.shape[1:]))
    mean, scale = chosen.mean(axes, keepdims=True), chosen.std(axes, keepdims=True)
    return mean.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32)


def read_images(source: Source) -> Encoded:
    """Pictures of any size and mode: on white where transparent, padded to a square, uint8."""
    size, channels = int(source.column.options["size"]), int(source.column.options["channels"])
    read = partial(picture, size=size, channels=channels)
    return _decoded(source, read, (channels, size, size), np.uint8)


def picture(file: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture as `(channels, size, size)`."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                image = Image.fromarray(_eight_bits(np.asarray(image, dtype=np.float64)))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
            image = image.convert("L" if channels == 1 else "RGB")
            image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _eight_bits(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    return ((values - low) / ((high - low) or 1) * 255).round().astype(np.uint8)


def read_sounds(source: Source) -> Encoded:
    """Sounds of any rate and length: mono, resampled, cut or padded, as log-mel power in decibels."""
    options = source.column.options
    bands, frames = int(options["bands"]), int(options["frames"])
    read = partial(
        log_mel, rate=int(options["rate"]), seconds=float(options["seconds"]), bands=bands, frames=frames
    )
    return _decoded(source, read, (1, bands, frames), np.float32)


def log_mel(file: Path, rate: int, seconds: float, bands: int, frames: int) -> NDArray[np.float32]:
    """One sound as `(1, bands, frames)`: decibels below its loudest point, at most 80."""
    import soundfile
    from scipy.signal import resample_poly

    samples, own = soundfile.read(file, dtype="float32", always_2d=True)
    if not len(samples):
        raise ValueError("it holds no samples")
    common = math.gcd(own, rate)
    signal = resample_poly(samples.mean(1), rate // common, own // common)
    length, width = round(rate * seconds), round(rate * WINDOW_SECONDS)
    signal = np.pad(signal[:length], (0, max(0, length - len(signal)) + width))
    starts = np.linspace(0, length - 1, frames).astype(int)
    windows = signal[starts[:, None] + np.arange(width)] * np.hanning(width)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    mel = power @ mel_filters(rate, width, bands).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    return np.maximum(decibels - decibels.max(), -DECIBELS).T[None].astype(np.float32)


def mel_filters(rate: int, width: int, bands: int) -> NDArray[np.float64]:
    """Triangles `(bands, width // 2 + 1)`, evenly spaced on the mel scale from 60 Hz to half of the rate.

    The scale is O'Shaughnessy's: 2595 · log10(1 + f / 700).
    """
    lowest, highest = 2595 * np.log10(1 + np.array([60.0, rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(width, 1 / rate)[None]
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak))
    # A triangle narrower than the bins would be empty: it takes the bin nearest to its peak.
    nearest = np.abs(frequencies - peak) == np.abs(frequencies - peak).min(1, keepdims=True)
    filters = np.maximum(triangles, 0)
    return np.where(filters.sum(1, keepdims=True) > 0, filters, nearest)


def read_texts(source: Source) -> Encoded:
    """Texts as token ids: 0 is padding, 1 is what the training rows did not have."""
    [name] = source.column.names
    cells = source.cells(name)
    texts = [None if cell is None else str(cell) for cell in cells]
    key = ["text", dict(source.column.options), texts, source.training.tolist()]
    array, details = source.cache.get(key, lambda: _tokenised(texts, source))
    present = np.array([text is not None for text in texts])
    spec = ModalitySpec("text", (array.shape[1],), details["vocabulary"])
    return Encoded(spec, array, present)


def _tokenised(texts: list[str | None], source: Source) -> tuple[NDArray[np.int32], dict[str, Any]]:
    options = source.column.options
    known = [text for text, own in zip(texts, source.training, strict=True) if own and text is not None]
    encode, vocabulary = _TOKENISERS[options["tokens"]](known, int(options["vocabulary"]))
    ids = [encode(text) if text is not None else [] for text in texts]
    lengths = [len(own) for own, training in zip(ids, source.training, strict=True) if training]
    longest = int(np.quantile(lengths, 0.99)) if lengths else 1
    length = int(options["length"] or min(max(longest, 1), LONGEST_TEXT))
    array = np.full((len(ids), length), PADDING, np.int32)
    for row, own in enumerate(ids):
        array[row, : min(len(own), length)] = own[:length]
    return array, {"vocabulary": vocabulary}


def _characters(texts: list[str], limit: int) -> tuple[Callable[[str], list[int]], int]:
    """The most frequent characters of the training texts."""
    counts: dict[str, int] = {}
    for text in texts:
        for character in text:
            counts[character] = counts.get(character, 0) + 1
    kept = sorted(counts, key=lambda character: (-counts[character], character))[: limit - 2]
    codes = {character: index for index, character in enumerate(kept, UNKNOWN + 1)}
    return lambda text: [codes.get(character, UNKNOWN) for character in text], len(codes) + 2


def _pieces(texts: list[str], limit: int) -> tuple[Callable[[str], list[int]], int]:
    """Byte-pair encoding learned from the training texts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=limit, special_tokens=["<padding>", "<unknown>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return lambda text: tokenizer.encode(text).ids, tokenizer.get_vocab_size()


_TOKENISERS = {"characters": _characters, "bpe": _pieces}


def read_vectors(source: Source) -> Encoded:
    """Numbers in several columns, or as a list in one; standardised on the training rows."""
    columns = [source.cells(name) for name in source.column.names]
    rows = [_vector(cells) for cells in zip(*columns, strict=True)]
    widths = {len(row) for row in rows if isinstance(row, list)}
    width = max(widths, key=lambda one: sum(isinstance(r, list) and len(r) == one for r in rows), default=1)
    bad = {
        index: f"column {', '.join(source.column.names)}: "
        + (row if isinstance(row, str) else f"{len(row)} numbers, where others have {width}")
        for index, row in enumerate(rows)
        if isinstance(row, str) or (row is not None and len(row) != width)
    }
    array = np.zeros((len(rows), width), np.float32)
    present = np.array([row is not None and index not in bad for index, row in enumerate(rows)])
    for index in np.flatnonzero(present):
        array[index] = rows[index]
    mean, scale = _moments(array, source.training & present, (0,))
    return Encoded(ModalitySpec("vector", (width,)), array, present, bad, mean[0], scale[0])


def _vector(cells: tuple[Any, ...]) -> list[float] | str | None:
    """The numbers of one row; None for a missing one, a reason for a bad one."""
    if all(cell is None for cell in cells):
        return None
    if len(cells) == 1:
        [cells] = [_listed(cells[0])]
    found = [number(cell) for cell in cells]
    for cell, value in zip(cells, found, strict=True):
        if value is None:
            return f"{cell!r} is not a number"
    return [value for value in found if value is not None]


def _listed(cell: Any) -> tuple[Any, ...]:
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            return (cell,)
    if isinstance(cell, list):
        return tuple(cell)
    return tuple(str(cell).replace(",", " ").split()) or (cell,)


def read_tables(source: Source) -> Encoded:
    """Numbers, standardised, and categories, one column for each of the training rows' values.

    A cell that is empty is the mean, or no category; a column of numbers of which training cells are
    empty has another that says so.
    """
    forced = source.column.options["categorical"]
    parts: list[NDArray[np.float32]] = []
    bad: dict[int, str] = {}
    there = np.zeros(source.table.count, bool)
    for name in source.column.names:
        cells = source.cells(name)
        there |= np.array([cell is not None for cell in cells])
        known = [cell for cell, own in zip(cells, source.training, strict=True) if own and cell is not None]
        if name in forced or not all(number(cell) is not None for cell in known):
            names = sorted({str(cell) for cell in known})
            parts.append(np.array([[str(cell) == one for one in names] for cell in cells], np.float32))
        else:
            values, wrong = _numbers(cells, name)
            bad |= wrong
            parts.append(_filled(values, source.training))
    array = np.concatenate(
        [part for part in parts if part.shape[1]] or [np.zeros((len(there), 1), np.float32)], 1
    )
    mean, scale = _moments(array, source.training & there, (0,))
    spec = ModalitySpec("vector", (array.shape[1],))
    return Encoded(spec, array.astype(np.float32), there, bad, mean[0], scale[0])


def _numbers(cells: list[Any], name: str) -> tuple[NDArray[np.float64], dict[int, str]]:
    values = [number(cell) if cell is not None else None for cell in cells]
    wrong = {
        row: f"column {name}: {cell!r} is not a number"
        for row, (cell, value) in enumerate(zip(cells, values, strict=True))
        if cell is not None and value is None
    }
    return np.array([math.nan if value is None else value for value in values]), wrong


def _filled(values: NDArray[np.float64], training: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The numbers with the training mean where there is none, and a column that says where that is."""
    missing = np.isnan(values)
    known = values[training & ~missing]
    filled = np.where(missing, known.mean() if len(known) else 0.0, values)
    columns = [filled, missing] if (missing & training).any() else [filled]
    return np.stack(columns, 1).astype(np.float32)


READERS: Mapping[str, Callable[[Source], Encoded]] = {
    "image": read_images,
    "audio": read_sounds,
    "text": read_texts,
    "vector": read_vectors,
    "tabular": read_tables,
}
