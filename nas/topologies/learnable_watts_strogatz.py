"""A small world whose beta is learned together with the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.registry import register
from nas.topologies._alternatives import Alternatives
from nas.topologies._candidates import candidates
from nas.topologies._learnable import LearnableTopology
from nas.topologies._topology import check_size


@register("topology", "learnable_watts_strogatz")
@dataclass(frozen=True)
class LearnableWattsStrogatz(LearnableTopology):
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
