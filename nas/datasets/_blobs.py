"""Encoded pictures and sounds: where their bytes are, and how all of them are decoded once."""

import hashlib
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from nas.datasets._cache import DIGEST_BYTES, Cache, Pack

CHUNK = 256
DECODERS = ("pillow", "soundfile")  # another version may read what one refuses
STANDARD_ERROR = 2
ADDRESS = re.compile(r"\b(https?|ftp|s3|gs):/")


class Blob(Protocol):
    """The bytes of one picture or sound; as a string, what errors call it."""

    @property
    def stamp(self) -> str | None:
        """What changes when the bytes do, known without reading them; None where nothing is."""
        ...

    def read(self) -> bytes:
        """The bytes."""
        ...


@dataclass(frozen=True)
class File:
    """A blob that is a file."""

    path: Path

    @property
    def stamp(self) -> str | None:
        """Its path, size and time."""
        try:
            status = self.path.stat()
        except (OSError, ValueError):
            return None
        return f"{self.path}|{status.st_size}|{status.st_mtime_ns}"

    def read(self) -> bytes:
        """The file's content.

        Raises:
            OSError: It cannot be read, or is a device or a pipe, which may have no end.
        """
        mode = self.path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError("it is a device or a pipe")
        return self.path.read_bytes()

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Inline:
    """A blob that stands in the table itself."""

    content: bytes
    stamp: str | None = None

    def read(self) -> bytes:
        """The content."""
        return self.content

    def __str__(self) -> str:
        return "the cell"


def blob(cell: Any, folder: Path) -> Blob | None:
    """The blob that a cell holds or names: bytes, `{bytes, path}`, or a path from a folder."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if cell is None or hasattr(cell, "stamp"):
        return cell
    return Inline(cell) if isinstance(cell, bytes) else File(_located(str(cell), folder))


def _located(cell: str, folder: Path) -> Path:
    """The file that a cell names; of a table from Windows, whose paths have backslashes, too."""
    file = folder / cell
    return folder / cell.replace("\\", "/") if "\\" in cell and not file.exists() else file


class Refusal(str):
    """Why a content cannot be decoded: for as long as it is the same, there is no use in another attempt."""


@dataclass(frozen=True)
class Decoded:
    """Many blobs as arrays of one shape.

    Args:
        array: `(N, *shape)`, mapped.
        rows: By blob, its place in the array; -1 for no blob and for a bad one.
        bad: Why blobs cannot be decoded, by their place among all.
    """

    array: NDArray[Any]
    rows: NDArray[np.int64]
    bad: Mapping[int, str]


def decode(
    origin: tuple[str, str],
    blobs: Sequence[Blob | None],
    read: Callable[[bytes], NDArray[Any]],
    shape: Sequence[int],
    dtype: Any,
    cache: Cache,
    key: Any,
) -> Decoded:
    """Decode blobs side by side, each content once and for all; a progress bar shows it on a terminal.

    Args:
        origin: The table and the column that they are from.
        blobs: What to decode; None where there is nothing.
        read: From bytes to an array.
        shape: Of that array.
        dtype: Of its values.
        cache: Where arrays are kept.
        key: JSON data that tells this way of decoding from any other.
    """
    pack, known = cache.pack(key, shape, dtype), cache.words(origin)
    refusals = ["refused", origin, key, *map(version, DECODERS)]
    refused = cache.words(refusals)
    stamps = [None if blob is None else blob.stamp for blob in blobs]
    digests = [bytes.fromhex(known[stamp]) if stamp in known else None for stamp in stamps]
    bad: dict[int, str] = {
        place: Refusal(refused[stamp]) for place, stamp in enumerate(stamps) if stamp in refused
    }
    todo = [
        place
        for place, (blob, digest) in enumerate(zip(blobs, digests, strict=True))
        if blob is not None and digest not in pack.rows and place not in bad
    ]
    with _progress(f"decoding {origin[-1]}", len(todo)) as advance:
        for place, found in _decode_new(blobs, todo, read, pack, cache):
            digests[place] = found if isinstance(found, bytes) else None
            if isinstance(found, str):
                bad[place] = found
            advance()
    seen = {stamp: own.hex() for stamp, own in zip(stamps, digests, strict=True) if stamp and own}
    if seen != known:
        cache.keep_words(origin, seen)
    final = {
        stamp: why for place, why in bad.items() if (stamp := stamps[place]) and isinstance(why, Refusal)
    }
    if final != refused:
        cache.keep_words(refusals, final)
    rows = [-1 if digest is None else pack.rows[digest] for digest in digests]
    return Decoded(pack.array(), np.array(rows, np.int64), bad)


def _decode_new(
    blobs: Sequence[Blob | None],
    places: Sequence[int],
    read: Callable[[bytes], NDArray[Any]],
    pack: Pack,
    cache: Cache,
) -> Iterator[tuple[int, bytes | str]]:
    """Put what is new into the pack, chunk by chunk; by place the digest, or what is wrong."""
    with ThreadPoolExecutor(_cores()) as pool:
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            found = list(pool.map(lambda place: _attempt(blobs[place], read, pack.rows), chunk))
            with cache.writable():
                pack.add({digest: array for digest, array in found if array is not None})
            yield from ((place, what) for place, (what, _) in zip(chunk, found, strict=True))


def _attempt(
    blob: Any, read: Callable[[bytes], NDArray[Any]], known: Mapping[bytes, int]
) -> tuple[Any, NDArray[Any] | None]:
    """The digest of a blob, with its array where that is new; a string where it cannot be decoded."""
    try:
        content = blob.read()
    except FileNotFoundError:
        hint = "; nothing is downloaded, give a file" if ADDRESS.search(str(blob)) else ""
        return f"{blob} does not exist{hint}", None
    except IsADirectoryError:
        return f"{blob} is a folder, not a file", None
    except Exception as error:  # of the disk, or of a path that is none
        return _unreadable(blob, error), None
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    try:
        return digest, None if digest in known else read(content)
    except MemoryError as error:
        return _unreadable(blob, error), None
    except Exception as error:  # whatever a decoder makes of a damaged file
        return Refusal(_unreadable(blob, error)), None


def _unreadable(blob: Any, error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    [reason, *_] = said.splitlines()
    return f"{blob} cannot be read ({reason})"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error, where that is a terminal; what is given advances it by one.

    Nothing else gets there meanwhile: decoders warn of oddities, from C as well, and would break the bar.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with quiet() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        console = Console(file=stream)
        with Progress(*columns, console=console, disable=not (total and console.is_terminal)) as bar:
            task = bar.add_task(label, total=total)
            yield lambda: bar.advance(task)


@contextmanager
def quiet() -> Iterator[TextIO]:
    """Keep this process from writing to standard error, except through the stream that is given."""
    sys.stderr.flush()
    with os.fdopen(os.dup(STANDARD_ERROR), "w") as stream, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), STANDARD_ERROR)
        try:
            yield stream
        finally:
            os.dup2(stream.fileno(), STANDARD_ERROR)
