"""`cannistraci_hebb`: edges grow where the wiring itself predicts them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nas.checks import check_share
from nas.registry import register
from nas.rewirings._ch3 import all_scores, scores
from nas.rewirings._places import Places, distinct
from nas.rewirings._rule import Rule, all_but_smallest
from nas.space import Choice, Float

if TYPE_CHECKING:
    from nas.sparse import SparseLinear

MODES = ("hard", "soft")
# Up to so many units per side every empty position is scored, which costs O(N³).
DENSE_UNITS = 2000
# Beyond, so many uniform empty positions are scored for each one that becomes an edge.
CANDIDATES = 4


@register("rewiring", "cannistraci_hebb")
@dataclass(eq=False)
class CannistraciHebb(Rule):
    """Cannistraci–Hebb training (Zhang et al., ICLR 2024, and CHTs, arXiv 2501.19107).

    After every epoch but the last, ζ of the edges give way to as many with weight 0. Removal is
    `hard`, the smallest |w|, or `soft`: what stays is drawn ∝ |w|^T, T rising from 1 to 3 over the
    training. Growth goes by the CH3-L3 score of the remaining wiring, `Σ 1/(1 + e_z)` over the
    local community of a position (`nas.rewirings._ch3`): `hard` takes the highest, `soft` draws
    ∝ score; ties, and what has no score, are drawn uniformly. Beyond 2,000 units on a side a uniform
    sample of the empty positions is scored, four times as many as are needed.

    Inputs and outputs are the two sides of a bipartite graph, in square layers too. The papers also
    remove units that lost all edges on one side, through a chain of sparse layers. An edge of a
    single layer has both its ends, and what stands before and after a sparse layer here (dense
    layers, a residual sum) reaches all its units: there is nothing to remove.

    Args:
        zeta: Share ζ of the edges that are replaced.
        removal: `hard` or `soft`.
        growth: `hard` or `soft`.

    Raises:
        ValueError: `zeta` is not within [0, 1], or a mode is neither `hard` nor `soft`.
    """

    domains: ClassVar = {"zeta": Float(0.05, 0.5), "removal": Choice(*MODES), "growth": Choice(*MODES)}

    zeta: float = 0.3
    removal: str = "hard"
    growth: str = "hard"

    def __post_init__(self) -> None:
        check_share("zeta", self.zeta)
        for name in ("removal", "growth"):
            if getattr(self, name) not in MODES:
                raise ValueError(f"{name} must be one of {', '.join(MODES)}, not {getattr(self, name)!r}")

    @torch.no_grad()
    def step(self, layer: "SparseLinear", step: int) -> None:
        """Replace edges between two epochs."""
        if not self.between_epochs(step):
            return
        strength = layer.weight.abs()
        if self.removal == "soft":
            strength = self._race(strength ** (1 + 2 * self.progress(step)))
        keep = all_but_smallest(strength, int(self.zeta * len(strength)))
        layer.rewire(keep, *self._predicted(layer, keep))

    def _predicted(self, layer: "SparseLinear", keep: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and sources of the new edges, as many as are not kept."""
        count = int((~keep).sum())
        shape, ends = (layer.out_features, layer.in_features), (layer.target[keep], layer.source[keep])
        places = Places.of(layer)
        if max(shape) <= DENSE_UNITS:
            candidates, score = _every_empty(places, ends)
        else:
            taken = places.number(*ends)
            sample = min(CANDIDATES * count, len(places) - len(taken))
            candidates = places.ends(places.draw_empty(taken, sample, self.generator))
            score = scores(*ends, shape, candidates)
        if self.growth == "soft":
            score = self._race(score)
        chosen = self._highest(score, count)
        return candidates[0][chosen], candidates[1][chosen]

    def _race(self, weights: Tensor) -> Tensor:
        """Values whose highest are a sample ∝ the weights, without replacement."""
        clock = torch.empty(weights.shape).exponential_(generator=self.generator)
        return weights / clock.to(weights)

    def _highest(self, values: Tensor, count: int) -> Tensor:
        """Indices of the highest values; among those equal to the last one it is drawn who is in."""
        if not count:
            return torch.empty(0, dtype=torch.int64, device=values.device)
        last = values.topk(count).values[-1]
        above, equal = (values > last).nonzero()[:, 0], (values == last).nonzero()[:, 0]
        drawn = distinct(len(equal), count - len(above), self.generator)
        return torch.cat([above, equal[drawn.to(equal.device)]])


def _every_empty(places: Places, ends: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """All empty places, and their scores."""
    adjacency = torch.zeros(places.out_features, places.in_features, device=ends[0].device)
    adjacency[ends] = 1
    empty = adjacency == 0
    if not places.loops:
        empty.fill_diagonal_(False)
    target, source = empty.nonzero(as_tuple=True)
    return (target, source), all_scores(adjacency)[empty]
