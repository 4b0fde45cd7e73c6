"""What the kernels derive from the edges of a layer, once per wiring and device."""

from functools import cached_property

import torch
from torch import Tensor

from nas.sparse._kernels import Pattern
from nas.sparse.backends import least_batch


class Layout:
    """Derived from `target` and `source`, each part on its first use.

    Args:
        target: Output unit of every edge, ordered, shape `(E,)`.
        source: Input unit of every edge, shape `(E,)`.
        out_features: Number of output units.
        in_features: Number of input units.
    """

    def __init__(self, target: Tensor, source: Tensor, out_features: int, in_features: int) -> None:
        self.target = target
        self.source = source
        self.out_features = out_features
        self.in_features = in_features
        self.least_batch = least_batch(out_features, in_features, len(target), target.device.type)

    # Not under inference mode, even if the first use is: training will save these tensors.

    @cached_property
    def positions(self) -> Tensor:
        """Place of every edge in the flattened dense matrix, shape `(E,)`."""
        with torch.inference_mode(False):
            return self.target * self.in_features + self.source

    @cached_property
    def pattern(self) -> Pattern:
        """The sparse matrix but for its values."""
        with torch.inference_mode(False):
            return Pattern.of(self.target, self.source, (self.out_features, self.in_features))
