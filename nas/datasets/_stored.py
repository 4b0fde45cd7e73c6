"""Arrays in `.npy` and `.npz` files, mapped into memory; nothing is unpickled."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.datasets._cache import Cache
from nas.errors import RequestError


class Stored(Mapping[str, NDArray[Any]]):
    """The arrays of a folder of `.npy` files, or of one `.npz` file, by name.

    Those of an `.npz` file are unpacked into the cache, because what is packed cannot be mapped.

    Args:
        source: The folder or the file.
        cache: Where arrays are unpacked.

    Raises:
        RequestError: It is not there, is neither of the two, or is damaged; or one of its arrays is.
    """

    def __init__(self, source: Path, cache: Cache) -> None:
        self.source = source
        self._cache = cache
        if source.is_dir():
            self._files = {file.stem: file for file in sorted(source.glob("*.npy"))}
        elif source.is_file() and zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as packed:
                self._members = {info.filename.removesuffix(".npy"): info for info in packed.infolist()}
            self._files = dict.fromkeys(self._members, source)
        elif source.exists():
            raise RequestError(
                f"{source} is no .npz file, or is damaged; give one, or a folder of .npy files"
            )
        else:
            raise RequestError(f"{source} does not exist; give an .npz file, or a folder of .npy files")
        if not self._files:
            raise RequestError(f"{source} holds no arrays")

    def __getitem__(self, name: str) -> NDArray[Any]:
        file = self._files[name]
        return mapped(file if self.source.is_dir() else self._unpacked(name), f"{self.source}: {name}")

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def stamp(self, name: str) -> list[Any]:
        """What changes when an array does."""
        file = self._files[name]
        status = file.stat()
        return [str(file.resolve()), name, status.st_size, status.st_mtime_ns]

    def _unpacked(self, name: str) -> Path:
        def write(stream: Any) -> None:
            with zipfile.ZipFile(self.source) as packed, packed.open(self._members[name]) as member:
                shutil.copyfileobj(member, stream)

        try:
            return self._cache.file(["npz", *self.stamp(name)], write)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise RequestError(f"{self.source}: {name} is damaged ({error})") from None


def mapped(file: Path, name: str) -> NDArray[Any]:
    """The array of an `.npy` file, mapped into memory.

    Raises:
        RequestError: It is not there, is damaged, or holds what would have to be unpickled.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise RequestError(f"{name} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        # Numpy advises to unpickle what one trusts, which is not done here.
        reason = str(error).splitlines()[0].partition(" If you trust")[0]
        raise RequestError(f"{name} is no array of numbers or strings, or is damaged ({reason})") from None
    if not isinstance(array, np.ndarray):
        raise RequestError(f"{name} is no .npy file")
    return array
