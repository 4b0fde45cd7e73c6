"""`small_world`: one sparse linear map over the features of all modalities."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nas.fusions._inputs import VectorFusion
from nas.registry import register
from nas.space import Component, Float, Int
from nas.sparse import SparseLinear


@register("fusion", "small_world")
class SmallWorldFusion(VectorFusion):
    """y = (W ∘ mask) x over the concatenated features, the mask a Watts–Strogatz graph; no bias.

    The N = Σ d_m features stand on one ring, each joined to its k nearest, and every edge is
    rewired with probability beta (Watts and Strogatz, Nature 393, 1998): N·k weights are stored.
    Another topology may take the place of this graph; it is given the modalities as segments.

    Args:
        dims: Width of every modality's vector.
        k: Neighbours of a feature on the ring; even.
        beta: Probability that an edge is rewired.
        topology: Topology instead, an object, a name, or `{name: settings}`: `k` and `beta` are
            without effect then.
        rewiring: Rule that changes the edges in training, given likewise.
        seed: Seed of the wiring.
    """

    domains = {
        "k": Int(2, 16, step=2),
        "beta": Float(0.0, 1.0, fusible=True),
        "topology": Component("topology", instead_of=("k", "beta")),
        "rewiring": Component("rewiring"),
    }
    name = "small_world"

    def __init__(
        self,
        dims: Sequence[int],
        k: int = 4,
        beta: float = 0.1,
        topology: Any | str | Mapping[str, Any] | None = None,
        rewiring: Any | str | Mapping[str, Any] = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(dims, sum(dims))
        self.layer = SparseLinear(
            self.out_dim,
            self.out_dim,
            {"watts_strogatz": {"k": k, "beta": beta}} if topology is None else topology,
            segments=None if topology is None else self.dims,
            bias=False,
            rewiring=rewiring,
            seed=seed,
        )
        self.layer.segments = list(dims)  # the units are those of the modalities, although on one ring

    @property
    def sparsity(self) -> float:
        """1 - edges / N²."""
        return self.layer.sparsity

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """The sparse map of [h_1; …; h_M]."""
        return self.layer(torch.cat(features, 1)), None
