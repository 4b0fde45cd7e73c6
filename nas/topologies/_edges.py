"""`Edges`: the value that every topology returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of one layer, each once, ordered by target and then by source.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        target: Output unit of every edge, int64 of shape `(E,)`.
        source: Input unit of every edge, int64 of shape `(E,)`.

    Raises:
        ValueError: A unit does not exist, an edge is given twice, or the shapes differ.
    """

    out_features: int
    in_features: int
    target: NDArray[np.int64]
    source: NDArray[np.int64]

    def __post_init__(self) -> None:
        units = {"target": self.out_features, "source": self.in_features}
        target, source = _ends(units, self.target, self.source)
        flat = target * self.in_features + source
        if flat.size and (np.diff(flat) <= 0).any():
            order = np.argsort(flat, kind="stable")
            flat, target, source = flat[order], target[order], source[order]
            if (np.diff(flat) == 0).any():
                raise ValueError("an edge is given twice")
        for name, ends in (("target", target), ("source", source)):
            ends = ends.copy()
            ends.flags.writeable = False
            object.__setattr__(self, name, ends)

    @classmethod
    def undirected(cls, units: int, one: ArrayLike, other: ArrayLike) -> "Edges":
        """Both directions of the undirected edges `one[e] – other[e]` between `units` units.

        Raises:
            ValueError: A unit does not exist, a pair is given twice or joins a unit to itself.
        """
        one, other = _ends({"one": units, "other": units}, one, other)
        keys = np.concatenate([one * units + other, other * units + one])
        keys.sort()  # which costs less than ordering the edges
        target = keys // max(units, 1)
        return cls(units, units, target, keys - target * units)

    def __len__(self) -> int:
        return len(self.target)

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Edges)
            and (self.out_features, self.in_features) == (other.out_features, other.in_features)
            and np.array_equal(self.target, other.target)
            and np.array_equal(self.source, other.source)
        )

    @property
    def density(self) -> float:
        """Share of all possible positions that are edges."""
        return len(self) / (self.out_features * self.in_features)

    def mask(self) -> NDArray[np.bool_]:
        """The adjacency as a dense mask of shape `(out_features, in_features)`."""
        mask = np.zeros((self.out_features, self.in_features), dtype=bool)
        mask[self.target, self.source] = True
        return mask

    def shares(self, segments: Sequence[int]) -> NDArray[np.float64]:
        """Share of the edges that runs from each segment to each segment.

        Args:
            segments: Sizes of the consecutive segments; they add up to the number of units.

        Returns:
            Matrix of shape `(S, S)`, rows the segment of the target, columns that of the source;
            it sums to 1 (to 0 without edges).

        Raises:
            ValueError: The layer is not square, or the segments do not add up to its units.
        """
        check_segments(segments, self.out_features, self.in_features)
        bounds = np.cumsum(segments)
        counts = np.zeros((len(segments), len(segments)))
        rows, columns = (np.searchsorted(bounds, ends, side="right") for ends in (self.target, self.source))
        np.add.at(counts, (rows, columns), 1)
        return counts / max(len(self), 1)


def _ends(units: Mapping[str, int], *given: ArrayLike) -> list[NDArray[np.int64]]:
    """Both ends of the edges as they are given, where they are units; `units` numbers those of each side."""
    found = [np.asarray(ends) for ends in given]
    if found[0].ndim != 1 or found[0].shape != found[1].shape:
        shapes = " and ".join(f"{name} {ends.shape}" for name, ends in zip(units, found, strict=True))
        raise ValueError(f"{shapes} must be equally long lists")
    for (name, count), ends in zip(units.items(), found, strict=True):
        if ends.size and ends.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold whole numbers, not {ends.dtype}")
        if ends.size and (ends.min() < 0 or ends.max() >= count):
            raise ValueError(f"{name} {ends.min()}…{ends.max()} is not within the {count} units")
    return [ends.astype(np.int64, copy=False) for ends in found]


def check_segments(segments: Sequence[int], out_features: int, in_features: int) -> None:
    """Raise ValueError unless the segments divide the units of a square layer."""
    if out_features != in_features:
        raise ValueError(f"segments belong to a square layer, not to {in_features} → {out_features}")
    sizes = np.asarray(segments)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 1).any() or sizes.sum() != in_features:
        raise ValueError(
            f"segments must be positive whole numbers that add up to {in_features} units, not {segments!r}"
        )
