"""The mathematics of fronts: dominance, ranks, crowding and hypervolume of points to be minimised."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points: TypeAlias = NDArray[np.float64]


def non_dominated(losses: ArrayLike | Sequence[Sequence[float]]) -> list[bool]:
    """For every point, whether no other is at least as good everywhere and better somewhere.

    Args:
        losses: `(n, m)` points, smaller is better. Equal points do not dominate each other.
    """
    points = _points(losses)
    kept = np.zeros(len(points), bool)
    if len(points):
        order = np.lexsort(points.T[::-1])
        find = _undominated_pairs if points.shape[1] == 2 else _undominated
        kept[order] = find(points[order])
    return kept.tolist()


def _undominated_pairs(points: Points) -> NDArray[np.bool_]:
    """Of points with two coordinates, in their order: Kung et al., Journal of the ACM 22 (1975)."""
    lowest = np.minimum.accumulate(points[:, 1])
    better = np.append(True, points[1:, 1] < lowest[:-1])
    group = np.cumsum(np.append(True, (points[1:] != points[:-1]).any(1))) - 1
    return better[np.searchsorted(group, group)]  # equal points share the verdict on their first


def _undominated(points: Points) -> NDArray[np.bool_]:
    """Of points in the order of their coordinates: of what is left, the first cannot be dominated."""
    kept = np.zeros(len(points), bool)
    left = np.arange(len(points))
    while len(left):
        first = points[left[0]]
        kept[left[(points[left] == first).all(1)]] = True
        left = left[~(first <= points[left]).all(1)]
    return kept


def ranks(losses: ArrayLike | Sequence[Sequence[float]], enough: int | None = None) -> NDArray[np.int64]:
    """Non-dominated rank of every point: 0 on the front, 1 on the front of the rest, and so on.

    Deb et al., IEEE Transactions on Evolutionary Computation 6 (2002), section III A.

    Args:
        losses: `(n, m)` points, smaller is better.
        enough: Once so many points have their rank, all others share the next one; None for all.
    """
    points = _points(losses)
    found = np.full(len(points), -1)
    rank = 0
    while (found < 0).any():
        if enough is not None and (found >= 0).sum() >= enough:
            found[found < 0] = rank
            break
        left = np.flatnonzero(found < 0)
        found[left[non_dominated(points[left])]] = rank
        rank += 1
    return found


def crowding(losses: ArrayLike | Sequence[Sequence[float]]) -> Points:
    """Crowding distance of every point of one front; infinite at its ends (Deb et al. 2002, III B).

    So it is beside an infinite loss, which is infinitely far.
    The distance follows from the points alone, whatever their order; equal points share theirs.
    """
    unique, positions = np.unique(_points(losses), axis=0, return_inverse=True)
    distance = np.zeros(len(unique))
    for column in unique.T:
        values = np.unique(column)
        gaps = np.full(len(values), np.inf)
        if len(values) > 2:
            apart = values[2:] - values[:-2]
            gaps[1:-1][np.isfinite(apart)] = apart[np.isfinite(apart)] / (values[-1] - values[0])
        distance += gaps[np.searchsorted(values, column)]
    return distance[positions.ravel()]


def hypervolume(losses: ArrayLike | Sequence[Sequence[float]], reference: ArrayLike) -> float:
    """Volume that the points dominate below a reference point.

    Args:
        losses: `(n, m)` points; those that are not better than the reference everywhere count nothing.
        reference: `(m,)`.

    By slices along the last objective (Zitzler 1999; While et al., IEEE TEVC 10, 2006): exact, fast
    for two and three objectives, and exponential in their number.
    """
    points, corner = _points(losses), np.asarray(reference, float)
    if not len(points):
        return 0.0
    points = points[(points < corner).all(1)]
    return _volume(points[non_dominated(points)], corner)


def _volume(points: Points, corner: Points) -> float:
    if not len(points):
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], corner[-1]))
    if len(corner) == 2:
        return float(((corner[0] - np.minimum.accumulate(points[:, 0])) * heights).sum())
    slices = (
        _volume(_front(points[: index + 1, :-1]), corner[:-1]) * height
        for index, height in enumerate(heights)
        if height
    )
    return float(sum(slices))


def _front(points: Points) -> Points:
    return points[non_dominated(points)]


def _points(losses: Any) -> Points:
    points = np.asarray(losses, float)
    return points if len(points) else points.reshape(0, 1)
