"""The uniform random graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.registry import register
from nas.space.domains import Float
from nas.topologies._edges import Edges, check_segments
from nas.topologies._graphs import distinct, pairs_of
from nas.topologies._topology import check_density, check_size


@register("topology", "erdos_renyi")
@dataclass(frozen=True)
class ErdosRenyi:
    """A uniform random set of a fixed number of edges (Erdős & Rényi 1959); at least one.

    A square layer gets an undirected graph without loops, a rectangular one a bipartite graph.
    Segments change nothing: every pair of units is equally likely.

    Args:
        density: Share of all `out_features · in_features` positions that become edges, in (0, 1];
            a square layer stops at its `N·(N−1)` positions off the diagonal.

    Raises:
        ValueError: `density` is not within (0, 1].
    """

    domains: ClassVar = {"density": Float(0.01, 0.3, log=True)}
    rectangular: ClassVar[bool] = True

    density: float = 0.1

    def __post_init__(self) -> None:
        check_density(self.density)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the layer: `round(density · out_features · in_features)` (an even number if square)."""
        check_size("erdos_renyi", out_features, in_features)
        if segments is not None:
            check_segments(segments, out_features, in_features)
        rng = np.random.default_rng(seed)
        positions = out_features * in_features
        if out_features == in_features:
            pairs = in_features * (in_features - 1) // 2
            count = min(max(round(self.density * positions / 2), 1), pairs)
            return Edges.undirected(in_features, *pairs_of(distinct(pairs, count, rng), in_features))
        keys = distinct(positions, max(round(self.density * positions), 1), rng)
        return Edges(out_features, in_features, keys // in_features, keys % in_features)
