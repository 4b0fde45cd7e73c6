"""The bipartite small world of CHTs, for layers of any two sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_share
from nas.registry import register
from nas.space.domains import Float
from nas.topologies._candidates import ring_sources
from nas.topologies._edges import Edges, check_segments
from nas.topologies._graphs import Ends, empty_places
from nas.topologies._topology import check_density, check_size


@register("topology", "bipartite_small_world")
@dataclass(frozen=True)
class BipartiteSmallWorld:
    """Each unit of the wider side linked to the nearest of the other; links deleted and as many added.

    Zhang et al. (arXiv 2501.19107): each edge is deleted with probability `beta`, and as many
    uniform empty places become edges. In a square layer no unit is linked to itself. With segments
    the nearest units are those of the unit's own segment; what a segment cannot hold becomes
    uniform edges too, so the density is kept.

    Args:
        density: Share of all positions that become edges, in (0, 1]; at least one edge. A square
            layer stops at its `N·(N−1)` positions off the diagonal.
        beta: Probability that an edge is replaced.

    Raises:
        ValueError: `density` is not within (0, 1], or `beta` is not within [0, 1].
    """

    domains: ClassVar = {"density": Float(0.01, 0.3, log=True), "beta": Float(0.0, 1.0, fusible=True)}
    rectangular: ClassVar[bool] = True

    density: float = 0.1
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_density(self.density)
        check_share("beta", self.beta)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the layer: `round(density · out_features · in_features)`."""
        check_size("bipartite_small_world", out_features, in_features)
        if segments is not None:
            check_segments(segments, out_features, in_features)
        wide, narrow = max(out_features, in_features), min(out_features, in_features)
        rng = np.random.default_rng(seed)
        one, other = self._links(wide, narrow, segments, rng)
        target, source = (one, other) if out_features >= in_features else (other, one)
        return Edges(out_features, in_features, target, source)

    def _links(
        self, wide: int, narrow: int, segments: Sequence[int] | None, rng: np.random.Generator
    ) -> tuple[Ends, Ends]:
        positions, skip_self = wide * narrow, wide == narrow
        count = min(max(round(self.density * positions), 1), positions - wide * skip_self)
        fan = np.diff(np.arange(wide + 1) * count // wide)  # `count` links, spread evenly
        one, other = ring_sources(wide, narrow, fan, segments, skip_self)
        kept = (one * narrow + other)[rng.random(len(one)) >= self.beta]
        loops = np.arange(wide) * (narrow + 1) if skip_self else np.empty(0, dtype=np.int64)
        taken = np.sort(np.concatenate([kept, loops]))
        added = empty_places(taken, positions, count - len(kept), rng)
        keys = np.sort(np.concatenate([kept, added]))
        return keys // narrow, keys % narrow
