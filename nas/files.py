"""Files that are there in whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"
LEFTOVERS = f".*{PART}"  # pattern of what a kill leaves of files that were being written


@contextmanager
def written_whole(file: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file so that it is there in whole or not at all; its folder is made where missing.

    Args:
        file: The file, which is there at the end of the context.
        durable: Whether its content is on the disk before it takes the place of an older one, so that a
            power cut too leaves one of the two. If not, nobody waits for the disk.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(handle)
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
