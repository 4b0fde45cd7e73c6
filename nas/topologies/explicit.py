"""Edges read from a file."""

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.registry import register
from nas.topologies._edges import Edges, check_segments
from nas.topologies._graphs import Ends
from nas.topologies._topology import check_size


@register("topology", "explicit")
@dataclass(frozen=True)
class Explicit:
    """The edges that a file lists; seed and segments change nothing.

    Args:
        path: `.csv` with a `target,source` pair per line (a header is allowed), `.npy` with an
            integer array of shape `(E, 2)` of the same pairs, or `.npz` with one array: a mask of
            shape `(out_features, in_features)`, non-zero where there is an edge.

    Raises:
        ValueError: The path ends in none of these; on `edges`, the file is missing or
            not readable as such, or what it holds does not fit the layer.
    """

    domains: ClassVar[dict[str, object]] = {}
    paths: ClassVar = ("path",)  # of files, relative to the space file where they are given
    rectangular: ClassVar[bool] = True

    path: str | Path

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | Path) or Path(self.path).suffix not in _READERS:
            raise ValueError(f"path must name a {', '.join(_READERS)} file of edges, not {str(self.path)!r}")

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the layer as the file has them."""
        check_size("explicit", out_features, in_features)
        if segments is not None:
            check_segments(segments, out_features, in_features)
        path = Path(self.path)
        try:
            target, source = _READERS[path.suffix](path, (out_features, in_features))
            return Edges(out_features, in_features, target, source)
        except FileNotFoundError:
            raise ValueError(f"edge file {path} does not exist; pass the path of one that does") from None
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"edge file {path}: {error}") from error


def _read_csv(path: Path, shape: tuple[int, int]) -> tuple[Ends, Ends]:
    rows = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if rows and _HEADER.fullmatch(rows[0]):
        rows = rows[1:]
    if not rows:
        return _pairs(np.empty((0, 2), dtype=np.int64))
    return _pairs(np.loadtxt(rows, dtype=np.int64, delimiter=",", ndmin=2))


def _read_npy(path: Path, shape: tuple[int, int]) -> tuple[Ends, Ends]:
    with path.open("rb") as file:
        return _pairs(np.lib.format.read_array(file, allow_pickle=False))


def _read_npz(path: Path, shape: tuple[int, int]) -> tuple[Ends, Ends]:
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of arrays, as numpy.savez writes them")
    with np.load(path, allow_pickle=False) as file:
        if len(file.files) != 1:
            raise ValueError(f"it must hold one array, the mask, not {file.files}")
        mask = file[file.files[0]]
    if mask.shape != shape:
        raise ValueError(f"the mask is of shape {mask.shape}, the layer (out, in) of {shape}")
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        raise ValueError(f"the mask must hold finite numbers or truth values; it is of {mask.dtype}")
    target, source = np.nonzero(mask)
    return target, source


def _pairs(pairs: NDArray[np.int64]) -> tuple[Ends, Ends]:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(f"it must hold whole numbers of shape (E, 2), not {pairs.dtype} of {pairs.shape}")
    return pairs[:, 0], pairs[:, 1]


_HEADER = re.compile(r"[^\d,]*,[^\d,]*")  # two names
_READERS = {".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz}
