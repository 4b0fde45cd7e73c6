"""`perceiver`: latent vectors that attend to all tokens (Jaegle et al., arXiv 2103.03206)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.attention import TransformerLayer
from nas.fusions._inputs import TokenFusion
from nas.registry import register
from nas.space import Int


@register("fusion", "perceiver")
class PerceiverFusion(TokenFusion):
    """A few learned latents attend to the tokens of all modalities, then to each other; their mean → linear.

    Z^0 = latents; Z^i = self-attention(cross-attention(Z^{i-1}, [X_1 + e_1; …; X_M + e_M])) for
    i = 1 … layers, each with an MLP, and e_m learned, which tells the modalities apart. The fused
    vector is linear(LN(mean of Z)). The weights `(M, B)` are the share of its attention that the last
    layer pays to each modality. The cost grows with the number of tokens, not its square.

    Args:
        dims: Width of every modality's tokens.
        latents: Number of latents.
        layers: Number of layers.
        out_dim: Width of the fused vector; None means that of modality 0.
    """

    domains = {"latents": Int(2, 16, log=True), "layers": Int(1, 4)}
    name = "perceiver"

    def __init__(
        self, dims: Sequence[int], latents: int = 8, layers: int = 1, out_dim: int | None = None
    ) -> None:
        super().__init__(dims, out_dim)
        self.latents = nn.Parameter(0.02 * torch.randn(latents, self.width))
        self.modality = nn.Parameter(0.02 * torch.randn(len(self.dims), self.width))
        self.reading = nn.ModuleList(TransformerLayer(self.width) for _ in range(layers))
        self.thinking = nn.ModuleList(TransformerLayer(self.width) for _ in range(layers))
        self.norm = nn.LayerNorm(self.width)
        self.linear = nn.Linear(self.width, self.out_dim)

    def fuse(self, tokens: list[Tensor], keep: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Linear(LN(mean of the latents that have read the tokens))."""
        memory = torch.cat([values + own for values, own in zip(tokens, self.modality, strict=True)], 1)
        kept = torch.cat(keep, 1)
        latents = self.latents.expand(kept.shape[0], -1, -1)
        for read, think in zip(self.reading, self.thinking, strict=True):
            latents, weights = read(latents, kept, memory)
            latents, _ = think(latents)
        counts = [values.shape[1] for values in tokens]
        shares = torch.stack([part.sum(-1) for part in weights.mean((1, 2)).split(counts, -1)])
        return self.linear(self.norm(latents.mean(1))), shares
