"""What has been decoded, by content, as files that are mapped into memory.

Whatever is killed, and however many processes write at once, what is read is whole: an array appears by a
rename, and a pack counts a row only after it has been written.
"""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import KeyPathError, RequestError
from nas.files import PART, written_whole

VERSION = 4
DIGEST_BYTES = 16
ABANDONED_SECONDS = 3600


class Cache:
    """A folder of arrays.

    Args:
        folder: Where; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = folder or home / "nas"

    @classmethod
    def below(cls, folder: Path, name: str | None) -> "Cache":
        """The cache of a dataset's option `cache`, a path from a folder; the usual one for None.

        Raises:
            KeyPathError: It is no path.
        """
        if not isinstance(name, str | None):
            raise KeyPathError(("cache",), f"{name!r} is not allowed; give the path of a folder")
        return cls(folder / name if name else None)

    def array(
        self, key: Any, make: Callable[[], tuple[NDArray[Any], dict[str, Any]]]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """The array of a key, mapped, and what belongs to it; made, and kept, where it is new.

        Args:
            key: JSON data that tells this content from any other.
            make: Gives the array, and JSON data that belong to it.
        """
        array, details = self._path(key, "npy"), self._path(key, "json")
        try:
            return np.load(array, mmap_mode="r"), json.loads(details.read_bytes())
        except (OSError, ValueError):
            made, extra = make()
        with self.writable():
            _write(array, lambda stream: np.save(stream, made, allow_pickle=False))
            _write(details, lambda stream: stream.write(json.dumps(extra).encode()))
        return np.load(array, mmap_mode="r"), extra

    def file(self, key: Any, write: Callable[[Any], Any]) -> Path:
        """The file of a key; written by `write(stream)` where it is new."""
        file = self._path(key, "npy")
        if not file.exists():
            with self.writable():
                _write(file, write)
        return file

    def pack(self, key: Any, shape: Sequence[int], dtype: Any) -> "Pack":
        """The pack of a key."""
        return Pack(self._path(key, "rows"), shape, dtype)

    def words(self, key: Any) -> dict[str, str]:
        """What is known of content by its stamp, as `keep_words` has left it."""
        try:
            stored: dict[str, str] = json.loads(self._path(key, "words").read_bytes())
        except (OSError, ValueError):
            return {}
        return stored

    def keep_words(self, key: Any, words: Mapping[str, str]) -> None:
        """Keep what is known of content, so that the next start need not read what has not changed."""
        content = json.dumps(words).encode()
        with self.writable():
            _write(self._path(key, "words"), lambda stream: stream.write(content))

    def _path(self, key: Any, suffix: str) -> Path:
        name = hashlib.sha256(json.dumps([VERSION, key], sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{name}.{suffix}"

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Make the folder, and say what to do where something cannot be written to it.

        Raises:
            RequestError: It cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            raise RequestError(
                f"the cache {self.folder} cannot be written: {reason}; choose another folder with `cache`"
            ) from None


class Pack:
    """Arrays of one shape, each found by the digest of what it was made of. It only grows.

    Beside the rows lies an index with a digest for each. A row counts once its digest is there.

    Args:
        file: The file of the rows.
        shape: Of one array.
        dtype: Of its values.
    """

    def __init__(self, file: Path, shape: Sequence[int], dtype: Any) -> None:
        self._file, self._index = file, file.with_suffix(".index")
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._row_bytes = self._dtype.itemsize * int(np.prod(self._shape))
        self.rows: dict[bytes, int] = {}
        self._read_index()

    def add(self, arrays: Mapping[bytes, NDArray[Any]]) -> None:
        """Add arrays by digest; those that another process has added meanwhile are dropped."""
        for path in (self._file, self._index):
            path.touch()
        with self._file.open("r+b") as rows, self._index.open("r+b") as index:
            fcntl.flock(rows, fcntl.LOCK_EX)
            self._read_index()
            new = {digest: array for digest, array in arrays.items() if digest not in self.rows}
            count = len(self.rows)
            rows.seek(count * self._row_bytes)
            for array in new.values():
                rows.write(np.ascontiguousarray(array, self._dtype).data)
            rows.flush()
            os.fsync(rows.fileno())  # before the index: what it counts has to be there
            index.seek(count * DIGEST_BYTES)
            index.write(b"".join(new))
            self.rows |= {digest: row for row, digest in enumerate(new, count)}

    def array(self) -> NDArray[Any]:
        """All rows that are there, mapped: `(N, *shape)`."""
        if not self.rows:
            return np.zeros((0, *self._shape), self._dtype)
        return np.memmap(self._file, self._dtype, "r", shape=(len(self.rows), *self._shape))

    def _read_index(self) -> None:
        if not (self._file.exists() and self._index.exists()):
            return
        content = self._index.read_bytes()
        # A kill may have left a part of a digest, and a person may have cut the rows.
        count = min(len(content) // DIGEST_BYTES, self._file.stat().st_size // self._row_bytes)
        digests = (content[n * DIGEST_BYTES : (n + 1) * DIGEST_BYTES] for n in range(count))
        self.rows = {digest: row for row, digest in enumerate(digests)}


def _write(file: Path, write: Callable[[Any], Any]) -> None:
    for leftover in file.parent.glob(f".{file.name}.*{PART}"):
        if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:  # by a process that was killed
            leftover.unlink(missing_ok=True)
    with written_whole(file) as stream:
        write(stream)
