"""A small world whose beta is learned together with the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.registry import register
from nas.space.domains import Int
from nas.topologies._alternatives import Alternatives, check_start
from nas.topologies._candidates import candidates
from nas.topologies._edges import Edges
from nas.topologies._topology import check_positive, check_size


@register("topology", "learnable_watts_strogatz")
@dataclass(frozen=True)
class LearnableWattsStrogatz:
    """Every output unit has `k` sources, its nearest inputs or random ones: a share beta, which is learned.

    The graph is that of `fan_in_small_world`, nested in beta. A layer learns beta by gradient: while it
    searches, every edge reads from both of its candidate sources, to shares that beta decides; then the
    layer is frozen to the exact graph. In a square layer no unit is its own source. With segments the
    nearest inputs are those of the unit's own segment, all of them where it has fewer than `k`, and
    random ones lie anywhere.

    Args:
        k: Sources of each output unit, at least 1.
        beta: Where the search for beta starts.

    Raises:
        ValueError: `k` is below 1 or `beta` is not strictly between 0 and 1; on `edges`, a unit has
            fewer than `k` possible sources.
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
        """Edges of the layer at the initial beta: `k` per output unit."""
        found = self.candidates(out_features, in_features, segments=segments, seed=seed)
        return found.at(found.shares)

    def candidates(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Alternatives:
        """A random and a lattice source for every edge, in one group."""
        check_size("learnable_watts_strogatz", out_features, in_features)
        found = candidates(out_features, in_features, self.k, segments, seed)
        return Alternatives(
            out_features,
            in_features,
            found.target,
            sources=np.stack([found.random, found.lattice]),
            group=np.zeros_like(found.target),
            uniform=found.uniform,
            shares=np.array([[self.beta, 1 - self.beta]]),
        )
