"""What has been decoded, by content, as files that are mapped into memory."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1


class Cache:
    """A folder of arrays.

    Args:
        folder: Where; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for None.
    """

    def __init__(self, folder: str | None = None) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = Path(folder) if folder else home / "nas"

    def get(
        self, key: Any, make: Callable[[], tuple[NDArray[Any], dict[str, Any]]]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """The array of a key, mapped, and what belongs to it; made, and kept, where it is new.

        Args:
            key: JSON data that tells this content from any other.
            make: Gives the array, and JSON data that belong to it.
        """
        name = hashlib.sha256(json.dumps([VERSION, key], sort_keys=True).encode()).hexdigest()[:32]
        array, details = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        if not (array.exists() and details.exists()):
            made, extra = make()
            self._write(array, lambda stream: np.save(stream, made, allow_pickle=False))
            self._write(details, lambda stream: stream.write(json.dumps(extra).encode()))
        return np.load(array, mmap_mode="r"), json.loads(details.read_text(encoding="utf-8"))

    def _write(self, file: Path, write: Callable[[Any], Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                write(stream)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def fingerprints(files: Sequence[Path | None]) -> list[list[Any] | None]:
    """What changes when a file does: its path, size and time; None for no file."""
    return [None if file is None else _fingerprint(file) for file in files]


def _fingerprint(file: Path) -> list[Any]:
    try:
        status = file.stat()
    except OSError:
        return [str(file), None, None]
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]


def decode(
    label: str,
    files: Sequence[Path | None],
    read: Callable[[Path], NDArray[Any]],
    shape: Sequence[int],
    dtype: Any,
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Read all files at once, with a progress bar on a terminal; zeros for no file and for a bad one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    array = np.zeros((len(files), *shape), dtype)
    bad: dict[str, str] = {}
    with (
        Progress(console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
    ):
        task = progress.add_task(f"decoding {label}", total=len(files))
        for row, found in enumerate(pool.map(lambda file: file and _attempt(read, file), files)):
            progress.advance(task)
            if isinstance(found, str):
                bad[str(row)] = found
            elif found is not None:
                array[row] = found
    return array, {"bad": bad}


def _attempt(read: Callable[[Path], NDArray[Any]], file: Path) -> NDArray[Any] | str:
    """The content of a file, or why it cannot be read."""
    if not file.is_file():
        return f"{file} does not exist"
    try:
        return read(file)
    except Exception as error:  # whatever a decoder makes of a damaged file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return f"{file} cannot be read ({reason[0]})"
