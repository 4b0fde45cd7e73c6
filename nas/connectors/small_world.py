"""`small_world`: residual sparse layers over the concatenated features of all modalities."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.checks import check_positive
from nas.registry import register
from nas.seeds import derive
from nas.space import Component, Float, Int
from nas.sparse import SparseLinear


@register("connector", "small_world")
class SmallWorldConnector(nn.Module):
    """The segmented small-world network: `x + relu(W norm(x))`, once per layer, with W sparse.

    The units are the features of all modalities, one segment each; the topology wires them inside
    and across the segments. The norm has no parameters, so that a layer costs its edges and biases.

    Args:
        dims: Width of every modality's features.
        layers: Number of residual layers.
        topology: Topology of every layer: an object, a name, or `{name: settings}`.
        rewiring: Rule that changes the edges in training, given likewise; each layer has its own.
        dropout: Share of the units that are dropped from each residual during training.
        seed: Seed of the wiring; each layer has its own wiring.

    Raises:
        ValueError: `layers` is below 1, or the topology cannot wire so many units.
    """

    domains = {
        "layers": Int(1, 4),
        "topology": Component("topology"),
        "rewiring": Component("rewiring"),
        "dropout": Float(0.0, 0.5, fusible=True),
    }

    def __init__(
        self,
        dims: Sequence[int],
        layers: int = 1,
        topology: Any | str | Mapping[str, Any] = "watts_strogatz",
        rewiring: Any | str | Mapping[str, Any] = "none",
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_positive("layers", layers)
        self.dims = list(dims)
        self.dropout = dropout
        width = sum(dims)
        self.layers = nn.ModuleList(
            SparseLinear(
                width,
                width,
                topology,
                segments=self.dims,
                rewiring=rewiring,
                seed=derive(seed, "layer", layer),
            )
            for layer in range(layers)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features `(B, d_m)` to features of the same widths, mixed across the modalities."""
        units = torch.cat(list(features), dim=-1)
        for layer in self.layers:
            change = layer(F.layer_norm(units, units.shape[-1:])).relu()
            units = units + F.dropout(change, self.dropout, self.training)
        return list(units.split(self.dims, dim=-1))
