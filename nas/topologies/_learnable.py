"""What the topologies share whose wiring is learned, starting from a beta."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.checks import check_positive
from nas.space.domains import Int
from nas.topologies._alternatives import Alternatives, check_start
from nas.topologies._edges import Edges


@dataclass(frozen=True)
class LearnableTopology(ABC):
    """`k` sources for every output unit, chosen among candidates to shares that are learned.

    Args:
        k: Sources of each output unit, at least 1.
        beta: Share of the edges that leave the lattice where the search starts.

    Raises:
        ValueError: `k` is below 1 or `beta` is not strictly between 0 and 1.
    """

    domains: ClassVar = {"k": Int(2, 16)}
    rectangular: ClassVar[bool] = True
    learnable: ClassVar[bool] = True

    k: int = 4
    beta: float = 0.5

    def __post_init__(self) -> None:
        check_positive("k", self.k)
        check_start(self.beta)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the layer where the search starts: `k` per output unit."""
        found = self.candidates(out_features, in_features, segments=segments, seed=seed)
        return found.at(found.shares)

    @abstractmethod
    def candidates(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Alternatives:
        """The sources among which every edge chooses."""
