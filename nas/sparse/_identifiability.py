"""Whether learned wiring means something: what several starts and seeds agree on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

# A larger spread says that the start decided, not the data.
TOLERANCE = 0.2


@dataclass(frozen=True)
class Identifiability:
    """The verdict on shares that were learned several times.

    Args:
        spread: Largest difference between two results for the same share.
    """

    spread: float

    @property
    def identifiable(self) -> bool:
        """Whether the results agree within 0.2."""
        return self.spread <= TOLERANCE

    def __str__(self) -> str:
        return "identifiable" if self.identifiable else "not identifiable"


def identifiability(results: Sequence[ArrayLike]) -> Identifiability:
    """Compare betas, or budget matrices, learned from different starts and seeds on the same task.

    A search for wiring always ends somewhere. Where there is nothing to find, such as a lattice in
    shuffled inputs, it ends near its start; only agreement of several starts is a finding.

    Args:
        results: What each search ended with: numbers, or arrays of equal shape.

    Raises:
        ValueError: There are fewer than two results.

    Example:
        >>> str(identifiability([0.31, 0.28, 0.35])), str(identifiability([0.1, 0.5, 0.9]))
        ('identifiable', 'not identifiable')
    """
    if len(results) < 2:
        raise ValueError(f"give the results of at least two searches, not {len(results)}")
    stacked = np.stack([np.asarray(result, dtype=float) for result in results])
    return Identifiability(float(np.ptp(stacked, axis=0).max()))
