"""A small world of constant fan-in, for layers of any two sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.checks import check_positive, check_share
from nas.registry import register
from nas.space.domains import Float, Int
from nas.topologies._candidates import candidates
from nas.topologies._edges import Edges


@register("topology", "fan_in_small_world")
@dataclass(frozen=True)
class FanInSmallWorld:
    """Every output unit has `k` sources: its nearest inputs, a share `beta` of them moved to random ones.

    The number of moved edges is exact, and graphs of one seed are nested in `beta`. In a square
    layer no unit is its own source. With segments the nearest inputs are those of the unit's own
    segment, all of them where it has fewer than `k`, and random ones lie anywhere. An edge for
    which no other input is left stays.

    Args:
        k: Sources of each output unit, at least 1.
        beta: Share of the edges that move.

    Raises:
        ValueError: `k` is below 1 or `beta` is not within [0, 1]; on `edges`, a unit has
            fewer than `k` possible sources.
    """

    domains: ClassVar = {"k": Int(2, 16), "beta": Float(0.0, 1.0, fusible=True)}
    rectangular: ClassVar[bool] = True

    k: int = 4
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_positive("k", self.k)
        check_share("beta", self.beta)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the layer: `k` per output unit."""
        return candidates(out_features, in_features, self.k, segments, seed).at(self.beta)
