"""`random`: every proposal independent of all others."""

import numpy as np

from nas.registry import register
from nas.results.records import History
from nas.space import Architecture, SearchSpace


@register("sampler", "random")
class Random:
    """Every domain sampled on its own, every component equally likely."""

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        """A random point of the space."""
        return space.sample(np.random.default_rng(seed))
