"""The search for a graph by gradient: edges that read from several sources at once, to learned shares."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.checks import check_share
from nas.sparse._layout import Layout
from nas.topologies import Edges
from nas.topologies._alternatives import Alternatives

# Progress of a search and its temperature there, which falls linearly in between. From 0.1 the exact
# graph is still a good step away; cooling on to 0.03 makes freezing cost a half to a quarter as much.
ANNEALING = ((0.0, 0.8, 1.0), (0.7, 0.1, 0.03))


class Relaxation(nn.Module):
    """What the edges of a layer choose from, and how decided the choice is.

    Each edge has a fixed place `u` in its group, and the logits of the shares divide [0, 1] into one
    interval per candidate; in the exact graph the edge reads from the candidate in whose interval `u`
    lies. Relaxed, it reads from all of them with its one weight, because the bounds are blurred:
    `sigmoid((logit bound − logit u) / temperature)` of it lies below a bound. With two candidates this
    is `y_o = Σ_e w_e [(1 − z_e) x_lattice + z_e x_random]`. The places are the same throughout: fresh ones
    in every step would add a penalty that drives beta to 0 or 1.

    Args:
        buffers: `target`, `sources`, `group` and `uniform` as in `Alternatives`, and the `temperature`.
        out_features: Number of output units.
        in_features: Number of input units.
    """

    buffer_names = ("target", "sources", "group", "uniform", "temperature")
    target: Tensor
    sources: Tensor
    group: Tensor
    uniform: Tensor
    temperature: Tensor

    def __init__(self, buffers: Mapping[str, Tensor], out_features: int, in_features: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.in_features = in_features
        for name in self.buffer_names:
            self.register_buffer(name, buffers[name])
        self._union: _Union | None = None

    @classmethod
    def of(cls, found: Alternatives) -> "Relaxation":
        """The relaxation of a learnable topology's candidates, at the highest temperature."""
        drawn = {name: torch.tensor(getattr(found, name)) for name in cls.buffer_names[:-1]}
        return cls(
            drawn | {"temperature": torch.tensor(ANNEALING[1][0])}, found.out_features, found.in_features
        )

    def anneal(self, progress: float) -> None:
        """Set the temperature that belongs to a point of the search, 0 to 1."""
        check_share("progress", progress)
        self.temperature.fill_(float(np.interp(progress, *ANNEALING)))

    def chosen(self, logits: Tensor) -> Tensor:
        """Source of every edge in the exact graph, shape `(E,)`."""
        with torch.no_grad():
            bounds = bound_logits(logits).sigmoid().double()[self.group]
            choice = (self.uniform[:, None] >= bounds).sum(1)
            return self.sources.gather(0, choice[None])[0]

    def exact(self, logits: Tensor) -> Edges:
        """The exact graph."""
        target, source = (ends.cpu().numpy() for ends in (self.target, self.chosen(logits)))
        return Edges(self.out_features, self.in_features, target, source)

    def forward(self, weight: Tensor, logits: Tensor) -> Tensor:
        """Weights of the edges to all candidates, ordered as in `layout`, from one weight per edge `(E,)`."""
        union = self._current_union()
        parts = self._parts(weight, logits)
        return weight.new_zeros(len(union.layout.target)).index_add(0, union.place, parts)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor) -> Tensor:
        """The layer's output by operations that `torch.func` and exports know, from buffers alone."""
        positions = (self.target * self.in_features + self.sources).flatten()
        dense = weight.new_zeros(self.out_features * self.in_features)
        dense = dense.scatter_add(0, positions, self._parts(weight, logits))
        return functional.linear(x, dense.view(self.out_features, self.in_features), bias)

    @property
    def layout(self) -> Layout:
        """Layout of the edges to all candidates."""
        return self._current_union().layout

    def _parts(self, weight: Tensor, logits: Tensor) -> Tensor:
        """Every weight divided among the candidates, flattened from `(C, E)`."""
        bounds = bound_logits(logits).t()
        if len(logits) > 1:
            bounds = bounds.index_select(1, self.group)
        below = torch.sigmoid((bounds - torch.logit(self.uniform).to(weight)) / self.temperature) * weight
        return torch.cat([below, weight[None]]).diff(dim=0, prepend=torch.zeros_like(weight)[None]).flatten()

    def _current_union(self) -> "_Union":
        target, sources = self._buffers["target"], self._buffers["sources"]
        union = self._union
        if union is None or union.target is not target or union.sources is not sources:
            union = self._union = _Union(self.target, self.sources, self.out_features, self.in_features)
        return union

    def __getstate__(self) -> dict[str, object]:
        """The relaxation without what is derived from its buffers."""
        return self.__dict__ | {"_union": None}


class _Union:
    """The edges to all candidates, each once, and the `place` of every edge's candidates among them."""

    def __init__(self, target: Tensor, sources: Tensor, out_features: int, in_features: int) -> None:
        self.target = target
        self.sources = sources
        with torch.inference_mode(False):
            positions, self.place = torch.unique(
                (target * in_features + sources).flatten(), return_inverse=True
            )
            ends = positions // in_features, positions % in_features
            self.layout = Layout(*ends, out_features, in_features)


def share_logits(shares: Tensor) -> Tensor:
    """Logits `(G, C − 1)` of shares `(G, C)`, relative to the last one, the lattice's."""
    return (shares[:, :-1] / shares[:, -1:]).log()


def bound_logits(logits: Tensor) -> Tensor:
    """Logits of the bounds between the intervals that the shares divide [0, 1] into, `(G, C − 1)`."""
    every = functional.pad(logits, (0, 1))
    below = every.logcumsumexp(1)[:, :-1]
    above = every.flip(1).logcumsumexp(1).flip(1)[:, 1:]
    return below - above


def beta_of(logits: Tensor) -> Tensor:
    """Share of the edges that have left the lattice: a scalar for one group, else of shape `(G,)`."""
    beta = bound_logits(logits)[:, -1].sigmoid()
    return beta[0] if len(beta) == 1 else beta


def budgets_of(logits: Tensor) -> Tensor | None:
    """Shares from each segment (rows) to each segment, `(S, S)`, where groups are segments; else None."""
    groups, others = logits.shape
    if groups != others + 1:
        return None
    row, column = torch.meshgrid(*[torch.arange(groups, device=logits.device)] * 2, indexing="ij")
    # Candidates are the other segments in their order, then the lattice.
    candidate = torch.where(column == row, others, column - (column > row).long())
    return functional.pad(logits, (0, 1)).softmax(1).gather(1, candidate)
