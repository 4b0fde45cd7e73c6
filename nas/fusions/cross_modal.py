"""`cross_modal`: attention between all ordered pairs of modalities (MulT, Tsai et al., arXiv 1906.00295).

A pooled vector is one key. The softmax over one key is 1, whatever query and key projections say,
so those can neither matter nor learn: they are not stored, and the function is the textbook's.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from nas.attention import heads_for
from nas.fusions._inputs import VectorFusion
from nas.registry import register


@register("fusion", "cross_modal")
class CrossModalFusion(VectorFusion):
    """ĥ_a = h_a + Σ_b MHA_ab(query h_a, key and value h_b); concatenation of the ĥ_a → linear.

    Row p of the stacked parameters belongs to the ordered pair `pairs[p]` = (a, b): MHA_ab(h_b) =
    O_p (V_p h_b + v_p) + o_p. A pair counts where both of its modalities are there, and an absent
    modality enters the concatenation as zeros.

    Args:
        dims: Width of every modality's vector, the same for all.
        heads: Number of heads of the textbook form; None means 4, or the largest of 4, 2, 1 that
            divides the width. With one key per query it changes nothing.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: There are fewer than two modalities, the widths differ, or the heads do not
            divide them.
    """

    name = "cross_modal"
    modalities = (2, None)
    equal_widths = True

    def __init__(self, dims: Sequence[int], heads: int | None = None, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        width = self.dims[0]
        self.heads = heads_for(width, heads)
        self.pairs = list(permutations(range(len(self.dims)), 2))
        self.value_weight = _uniform(len(self.pairs), width, width)
        self.value_bias = nn.Parameter(torch.zeros(len(self.pairs), width))
        self.out_weight = _uniform(len(self.pairs), width, width)
        self.out_bias = nn.Parameter(torch.zeros(len(self.pairs), width))
        self.linear = nn.Linear(sum(self.dims), self.out_dim)

    @property
    def textbook_parameters(self) -> int:
        """Parameters with the query and key projections that the textbook stores for every pair."""
        width = self.dims[0]
        stored = sum(parameter.numel() for parameter in self.parameters())
        return stored + len(self.pairs) * 2 * (width * width + width)

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, None]:
        """Linear([ĥ_1; …; ĥ_M])."""
        sources = torch.stack([features[b] for _, b in self.pairs])
        values = torch.baddbmm(self.value_bias[:, None], sources, self.value_weight.mT)
        messages = torch.baddbmm(self.out_bias[:, None], values, self.out_weight.mT)
        if present is not None:
            active = torch.stack([present[:, a] & present[:, b] for a, b in self.pairs])
            messages = messages.masked_fill(~active[..., None], 0)
        count = len(self.dims)
        received = messages.view(count, count - 1, *messages.shape[1:]).sum(1)
        enriched = torch.stack(features) + received
        return self.linear(enriched.transpose(0, 1).flatten(1)), None


def _uniform(pairs: int, rows: int, columns: int) -> nn.Parameter:
    """Weights of stacked linear layers, drawn as `torch.nn.Linear` draws them."""
    bound = 1 / math.sqrt(columns)
    return nn.Parameter(torch.empty(pairs, rows, columns).uniform_(-bound, bound))
