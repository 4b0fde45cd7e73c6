"""The vectorised building blocks of the generators: arrays of edge ends in, arrays out."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Ends = NDArray[np.int64]

# A free place is hit within so many redraws unless hardly any is left: then the edge stays.
REDRAWS = 100


def lattice(segments: Sequence[int], k: int) -> tuple[Ends, Ends]:
    """Each unit joined to its `k` nearest on the ring of its own segment; every pair once.

    A segment of at most `k` units becomes the complete graph.

    Returns:
        The two ends of the pairs; the second follows the first on the ring.
    """
    sizes = np.repeat(np.asarray(segments, dtype=np.int64), segments)[:, None]
    starts = np.repeat(np.cumsum(segments) - segments, segments)[:, None]
    units = np.arange(len(sizes), dtype=np.int64)[:, None]
    place, step = units - starts, np.arange(1, k // 2 + 1)
    opposite = (2 * step == sizes) & (2 * place < sizes)  # met from both sides, counted from one
    pairs = (2 * step < sizes) | opposite
    other = place + step
    other = np.where(other < sizes, other, other - sizes) + starts
    return np.broadcast_to(units, pairs.shape)[pairs], other[pairs]


def move_ends(
    keep: Ends, other: Ends, moves: NDArray[np.bool_], units: int, rng: np.random.Generator
) -> Ends:
    """The other ends, those chosen by `moves` moved to uniform units without loops or duplicates.

    The edges form a valid graph at every moment: a place counts as taken until its edge has moved
    away. An edge that finds no free place in `REDRAWS` draws stays, which happens in nearly
    complete graphs alone.

    Args:
        keep: The ends that stay, shape `(E,)`.
        other: The ends that may move, shape `(E,)`.
        moves: Which edges move, shape `(E,)`.
        units: Number of units.
        rng: Source of the draws.
    """
    other, waiting = other.copy(), np.flatnonzero(moves)
    for _ in range(REDRAWS):
        if not waiting.size:
            break
        drawn = uniform_ends(keep[waiting], units, rng)
        free = _free(pair_keys(keep, other, units), pair_keys(keep[waiting], drawn, units))
        other[waiting[free]] = drawn[free]
        waiting = waiting[~free]
    return other


def add_ends(
    one: Ends, other: Ends, starts: Ends, units: int, draw: Callable[[Ends], Ends]
) -> tuple[Ends, Ends]:
    """The pairs, and one more from each of `starts` to a drawn unit, without loops or duplicates.

    A start that finds no free place in `REDRAWS` draws gets none.

    Args:
        one: One end of each pair, shape `(E,)`.
        other: The other end, shape `(E,)`.
        starts: Where the new pairs start; a unit may be there several times.
        units: Number of units.
        draw: Draws another unit for each of the given ones, never the unit itself.
    """
    for _ in range(REDRAWS):
        if not starts.size:
            break
        drawn = draw(starts)
        free = _free(pair_keys(one, other, units), pair_keys(starts, drawn, units))
        one, other = np.concatenate([one, starts[free]]), np.concatenate([other, drawn[free]])
        starts = starts[~free]
    return one, other


def uniform_ends(starts: Ends, units: int, rng: np.random.Generator) -> Ends:
    """A uniform unit for each of `starts`, never the unit itself."""
    drawn = starts + rng.integers(1, units, size=starts.size)
    return np.where(drawn < units, drawn, drawn - units)


def distinct(universe: int, count: int, rng: np.random.Generator) -> Ends:
    """`count` distinct numbers below `universe`, a uniform subset, ascending; memory O(count)."""
    if 2 * count > universe:
        chosen = np.ones(universe, dtype=bool)
        chosen[distinct(universe, universe - count, rng)] = False
        return np.flatnonzero(chosen)
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        drawn = rng.integers(universe, size=count - len(found) + count // 16 + 8)
        found = sorted_unique(np.concatenate([found, drawn]))
    surplus = rng.permutation(len(found))[: len(found) - count]
    return np.delete(found, surplus)


def empty_places(taken: Ends, universe: int, count: int, rng: np.random.Generator) -> Ends:
    """`count` numbers below `universe` outside the ascending `taken`, a uniform subset, ascending."""
    ranks = distinct(universe - len(taken), count, rng)
    return ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")


def pairs_of(keys: Ends, units: int) -> tuple[Ends, Ends]:
    """The pairs `one < other` of `units` units that are numbered `0 … units·(units−1)/2 − 1`."""
    # Row `other` of the lower triangle starts at other·(other−1)/2; the root is exact to within one.
    other = ((1 + np.sqrt(1 + 8 * keys.astype(np.float64))) / 2).astype(np.int64)
    other -= other * (other - 1) // 2 > keys
    other += other * (other + 1) // 2 <= keys
    return keys - other * (other - 1) // 2, other


def pair_keys(one: Ends, other: Ends, units: int) -> Ends:
    """One number per undirected pair."""
    return np.minimum(one, other) * units + np.maximum(one, other)


def sorted_unique(values: Ends) -> Ends:
    """The values, ascending, each once (`np.unique` hashes, which is slower here)."""
    values = np.sort(values)
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values[first]


def contains(ascending: Ends, values: Ends) -> NDArray[np.bool_]:
    """Which of the values are among the ascending ones."""
    if not ascending.size:
        return np.zeros(values.shape, dtype=bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[place] == values
    return found


def _free(taken: Ends, wanted: Ends) -> NDArray[np.bool_]:
    """Which of the wanted places are not taken and wanted once."""
    everything = np.sort(np.concatenate([taken, wanted]))
    clashes: Ends = everything[1:][everything[1:] == everything[:-1]]
    return ~contains(clashes, wanted)
