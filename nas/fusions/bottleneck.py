"""`bottleneck`: modalities that exchange through a few tokens (MBT, Nagrani et al., arXiv 2107.00135)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import TransformerLayer
from nas.fusions._inputs import TokenFusion, mean_over_present
from nas.registry import register
from nas.space import Int


@register("fusion", "bottleneck")
class BottleneckFusion(TokenFusion):
    """A transformer per modality; all share a few tokens, and learn of each other through these alone.

    [z_m; ẑ_m] ← transformer_m([z_m; z]), then z ← mean of the ẑ_m over the modalities that are there
    (the paper's attention bottlenecks), `layers` times. The fused vector is linear(LN(mean of z)): the
    shared tokens take the place of the paper's classification tokens, so that one layer fuses already.

    Args:
        dims: Width of every modality's tokens.
        bottlenecks: Number of shared tokens.
        layers: Number of layers.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    domains = {"bottlenecks": Int(2, 16, log=True), "layers": Int(1, 4)}
    name = "bottleneck"

    def __init__(
        self, dims: Sequence[int], bottlenecks: int = 4, layers: int = 1, out_dim: int | None = None
    ) -> None:
        super().__init__(dims, out_dim)
        self.shared = nn.Parameter(0.02 * torch.randn(bottlenecks, self.width))
        self.layers = nn.ModuleList(
            nn.ModuleList(TransformerLayer(self.width) for _ in self.dims) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(self.width)
        self.linear = nn.Linear(self.width, self.out_dim)

    def fuse(self, tokens: list[Tensor], keep: list[Tensor]) -> tuple[Tensor, None]:
        """Linear(LN(mean of the tokens that all modalities share))."""
        batch, count = keep[0].shape[0], self.shared.shape[0]
        shared = self.shared.expand(batch, -1, -1)
        kept = [torch.cat([real, real.new_ones(batch, count)], 1) for real in keep]
        there = torch.stack([real.any(1) for real in keep], 1)
        for layer in self.layers:
            pairs = zip(layer.children(), tokens, kept, strict=True)
            seen = [transform(torch.cat([own, shared], 1), real)[0] for transform, own, real in pairs]
            tokens = [values[:, :-count] for values in seen]
            proposals = torch.stack([values[:, -count:] for values in seen], 1)
            shared = mean_over_present(proposals.flatten(2), there).unflatten(1, (count, self.width))
        return self.linear(self.norm(shared.mean(1))), None
