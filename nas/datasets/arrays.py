"""`arrays`: what is already numbers, in `.npy` or `.npz` files."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.datasets._assemble import Roles, assemble
from nas.datasets._cache import Cache
from nas.datasets._columns import OPTIONS, Column, Option, declared
from nas.datasets._encoded import CHUNK, Encoded, moments
from nas.datasets._readers import encoded_texts
from nas.datasets._stored import Stored
from nas.datasets._table import Table, plain
from nas.datasets._texts import GivenTokenizer, learn
from nas.errors import KeyPathError, RequestError, near_misses
from nas.modality import ModalitySpec
from nas.registry import register

MOST_CHANNELS = 4
MOST_IDS = 10_000_000  # of tokens: an embedding has a row for each
NUMBERS = "buif"  # kinds of types: booleans, whole numbers with and without a sign, floats


def _array() -> Option:
    return Option(None, lambda value: isinstance(value, str), "the name of an array")


_COMMON = {
    "present": _array(),
    "normalise": Option(True, lambda value: isinstance(value, bool), "true or false"),
}
KINDS: dict[str, dict[str, Option]] = {
    "image": _COMMON,
    "audio": _COMMON,
    "vector": _COMMON,
    "text": OPTIONS["text"] | {"present": _array(), "mask": _array()},
}


@register("dataset", "arrays")
class Arrays:
    """Samples as arrays of numbers, one array per modality, mapped into memory. Nothing is unpickled.

    The first axis of every array is the samples'. An image is `(N, H, W)`, `(N, C, H, W)` or `(N, H, W, C)`;
    audio a spectrogram `(N, bands, frames)` or a waveform `(N, samples)`; text ids `(N, T)` with 0 for
    padding, or strings `(N,)`; a vector `(N, D)`. Floats are standardised on the training split.

    Args:
        source: A folder of `.npy` files, or one `.npz` file, which is unpacked into the cache.
        label: Array of the classes, or of the numbers to predict; `(N, L)` for several.
        task: `classification`, `multilabel` or `regression`; None infers it from the labels.
        modalities: By name of the modality its kind and its array, such as `{photo: {image: pixels}}`, with
            options beside them: `present` names an array of who has it, `mask` one of a text's real tokens,
            `normalise: false` leaves numbers as they are.
        split: Array of `train`, `validation` and `test`, or of 0, 1 and 2; None draws the splits.
        group: Array of which no value may be in two splits that are drawn.
        validation: Share of the samples for validation, where it is drawn.
        test: Share of the samples for the test, where it is drawn.
        seed: Seed of the splits that are drawn; they are stratified by label.
        cache: Folder of the cache, from where the source is; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for
            None.

    Raises:
        RequestError: A file or an array is not what it should be.
        ValueError: An option is not allowed.
    """

    def __init__(
        self,
        source: str,
        *,
        label: str = "label",
        task: Literal["classification", "multilabel", "regression"] | None = None,
        modalities: Mapping[str, Mapping[str, Any]] | None = None,
        split: str | None = None,
        group: str | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        path = Path(source)
        store = Cache.below(path.parent, cache)
        if not isinstance(label, str):
            raise KeyPathError(("label",), f"{label!r} is not allowed; give the name of an array")
        roles = Roles(label, task, split=split, group=group, shares=(validation, test), seed=seed)
        stored = Stored(path, store)
        columns = declared(modalities, list(stored), str(path), [label], KINDS)
        table, labels = _table(stored, label, split, group)
        roles = replace(roles, label=labels)
        made = assemble(table, roles, partial(_encode, stored, columns, table.count, store))
        self.modalities, self.task = made.modalities, made.task
        self.splits, self.notes = made.splits, made.notes


def _table(stored: Stored, label: str, split: str | None, group: str | None) -> tuple[Table, list[str]]:
    """What is not a modality, as a table; and its label columns."""
    columns: dict[str, list[Any]] = {}
    for name, role in ((label, "label"), (split, "split"), (group, "group")):
        if name and name not in stored:
            raise RequestError(f"{stored.source} has no {role} array {name!r}; {near_misses(name, stored)}")
    cells = stored[label]
    if cells.ndim not in (1, 2) or not len(cells):
        raise RequestError(f"{stored.source}: {label} is {cells.shape}; labels are (N,) or (N, L)")
    if cells.ndim == 1:
        columns[label] = list(map(plain, cells.tolist()))
    else:
        columns = {
            f"{label}_{place}": list(map(plain, cells[:, place].tolist())) for place in range(cells.shape[1])
        }
    labels = list(columns)
    if split:
        names = {0: "train", 1: "validation", 2: "test"}
        columns[split] = [names.get(cell, cell) for cell in stored[split].tolist()]
    if group:
        columns[group] = stored[group].tolist()
    table = Table(str(stored.source), stored.source.parent, columns)
    for name in filter(None, (split, group)):
        _check_count(stored, name, table.count)
    return table, labels


def _encode(
    stored: Stored, columns: Mapping[str, Column], count: int, cache: Cache, training: NDArray[np.bool_]
) -> dict[str, Encoded]:
    return {
        name: _encoded(stored, column, count, cache, training, ("modalities", name, column.kind))
        for name, column in columns.items()
    }


def _encoded(
    stored: Stored,
    column: Column,
    count: int,
    cache: Cache,
    training: NDArray[np.bool_],
    path: tuple[str, ...],
) -> Encoded:
    [name], options = column.names, column.options
    for own in (name, options.get("present"), options.get("mask")):
        if own is not None and own not in stored:
            raise KeyPathError(
                path, f"{own!r} is not an array of {stored.source}; {near_misses(own, stored)}"
            )
        if own is not None:
            _check_count(stored, own, count)
    rows = np.arange(count)
    if options["present"]:
        there = stored[options["present"]]
        if there.size != count:
            raise KeyPathError(
                (*path[:-1], "present"), f"{options['present']} is {there.shape}; it must be ({count},)"
            )
        rows = np.where(there.astype(bool).reshape(count), rows, -1)
    if column.kind == "text":
        return _text(stored, column, rows, cache, training, path)
    array = _shaped(stored[name], column.kind, path)
    spec = ModalitySpec(column.kind, array.shape[1:])
    bad = _not_finite(stored, name, rows, cache)
    if not options["normalise"]:
        return Encoded(spec, array, rows, bad)
    training = training.copy()
    training[list(bad)] = False
    channels = 1 if array.ndim > 2 or column.kind == "vector" else None  # the axis that keeps its own moments
    axes = tuple(axis for axis in range(array.ndim) if axis != channels)
    mean, scale = moments(array, rows[training & (rows >= 0)], axes)
    return Encoded(spec, array, rows, bad, mean, scale)


def _not_finite(stored: Stored, name: str, rows: NDArray[np.int64], cache: Cache) -> dict[int, str]:
    """What is wrong with samples whose values no float32 holds; an array is looked through once."""
    array = stored[name]
    if array.dtype.kind != "f":
        return {}

    def make() -> tuple[NDArray[Any], dict[str, Any]]:
        with np.errstate(over="ignore"):
            chunks = (
                array[start : start + CHUNK].astype(np.float32) for start in range(0, len(array), CHUNK)
            )
            finite = [np.isfinite(chunk).reshape(len(chunk), -1).all(1) for chunk in chunks]
        return np.flatnonzero(~np.concatenate(finite)), {}

    found, _ = cache.array(["not finite", stored.stamp(name)], make)
    reason = f"{name!r} holds values that are not finite numbers; mark them as not present"
    return {row: reason for row in found.tolist() if rows[row] >= 0}


def _shaped(array: NDArray[Any], kind: str, path: tuple[str, ...]) -> NDArray[Any]:
    """A view of the array with the axes that the kind has, channels first."""
    if array.dtype.kind not in NUMBERS:
        raise KeyPathError(path, f"the array holds {array.dtype}, not numbers")
    if not array.size:
        raise KeyPathError(path, f"the array is {array.shape}, which holds nothing")
    if kind == "vector" and array.ndim in (1, 2):
        return array.reshape(len(array), -1)
    if kind == "audio" and array.ndim == 2:
        return array
    if kind in ("image", "audio") and array.ndim == 3:
        return array[:, None]
    if kind == "image" and array.ndim == 4:
        last = array.shape[1] > MOST_CHANNELS and array.shape[3] <= MOST_CHANNELS
        return array.transpose(0, 3, 1, 2) if last else array
    if kind == "audio" and array.ndim == 4 and array.shape[1] == 1:
        return array
    wanted = {
        "vector": "(N, D)",
        "image": "(N, H, W), (N, C, H, W) or (N, H, W, C)",
        "audio": "(N, bands, frames) or (N, samples)",
    }
    raise KeyPathError(path, f"the array is {array.shape}; {kind} is {wanted[kind]}")


def _text(
    stored: Stored,
    column: Column,
    rows: NDArray[np.int64],
    cache: Cache,
    training: NDArray[np.bool_],
    path: tuple[str, ...],
) -> Encoded:
    """Token ids as they are, or strings to be tokenised."""
    [name], options = column.names, dict(column.options)
    array = stored[name]
    mask, _ = options.pop("mask"), options.pop("present")
    if array.dtype.kind in "US" and array.ndim == 1:
        texts = [str(text) if row >= 0 else None for text, row in zip(array.tolist(), rows, strict=True)]
        own = training & (rows >= 0)
        tokenizer = GivenTokenizer.named(
            options["tokenizer"], stored.source.parent, (*path[:-1], "tokenizer")
        )
        key = ["strings", stored.stamp(name), options, np.packbits(own).tobytes().hex()]
        known = [texts[row] or "" for row in np.flatnonzero(own)]
        return encoded_texts(
            texts, lambda: learn(known, options, tokenizer), [*key, tokenizer and tokenizer.digest()], cache
        )
    if array.dtype.kind not in "iu" or array.ndim != 2 or not array.size or array.min() < 0:
        raise RequestError(
            f"{stored.source}: {name} is {array.dtype} {array.shape}; text is token ids (N, T) of at "
            "least 0, or strings (N,)"
        )
    if array.max() >= MOST_IDS:
        raise RequestError(
            f"{stored.source}: {name} has ids up to {array.max():,}; they must be below {MOST_IDS:,}"
        )
    masks = None if mask is None else stored[mask]
    if masks is not None and masks.shape != array.shape:
        raise RequestError(f"{stored.source}: {mask} is {masks.shape}, and {name} is {array.shape}")
    return Encoded(ModalitySpec("text", array.shape[1:], int(array.max()) + 1), array, rows, masks=masks)


def _check_count(stored: Stored, name: str, count: int) -> None:
    shape = stored[name].shape
    if shape[:1] != (count,):
        raise RequestError(
            f"{stored.source}: {name} has {shape[0] if shape else 'no axis of'} samples, and the labels have"
            f" {count}"
        )
