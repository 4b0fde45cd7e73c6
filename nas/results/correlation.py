"""Rank correlation, without scipy's statistics, which take a second to import."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rho: the correlation of the ranks, of which equal values share the mean.

    Args:
        one: Values, not all the same.
        other: As many.
    """
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return means[places]
