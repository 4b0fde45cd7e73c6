"""A topology written as a stranger would write it: the edges of a hypercube."""

from collections.abc import Sequence

import numpy as np

import nas


@nas.register("topology", "hypercube")
class Hypercube:
    """Units joined whose numbers differ in one binary digit: any two are at most log₂ N edges apart.

    The generalised hypercube of N units has the edges whose two ends exist (Katseff, Incomplete
    Hypercubes, 1988). Segments and seed change nothing.
    """

    rectangular = False

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int
    ) -> nas.Edges:
        """The edges of a square layer, about N · log₂ N of them."""
        if out_features != in_features:
            raise ValueError(f"hypercube needs as many outputs as inputs, not {in_features} → {out_features}")
        digits = 1 << np.arange(max(1, (in_features - 1).bit_length()))
        target = np.arange(in_features).repeat(len(digits))
        source = target ^ np.tile(digits, in_features)
        there = source < in_features
        return nas.Edges(out_features, in_features, target[there], source[there])
