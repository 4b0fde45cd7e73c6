"""`flops`: floating-point operations of one forward pass of one sample."""

from contextlib import ExitStack
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.objectives import Context
from nas.registry import register
from nas.sparse import SparseLinear


@register("objective", "flops")
class Flops:
    """Multiplications and additions of the matrix products of one sample's forward pass.

    Counted by torch's counter; a sparse layer counts with two operations per edge and row, however
    it is computed. Where a rewiring rule prunes, the network counts as it is after the training.
    """

    direction = "minimize"
    cheap = True
    logged = True

    def __call__(self, context: Context) -> float:
        """The number of operations, exact before training."""
        with FlopCounterMode(display=False) as counter, ExitStack() as hooks:
            sparse = _SparseCount(counter)
            for layer in context.network.modules():
                if isinstance(layer, SparseLinear):
                    hooks.callback(layer.register_forward_pre_hook(sparse.before).remove)
                    hooks.callback(layer.register_forward_hook(sparse.after).remove)
            with context.predicting():
                context.forward()
        return counter.get_total_flops() + sparse.correction


class _SparseCount:
    """Replaces what the counter saw inside sparse layers by what their edges cost."""

    def __init__(self, counter: Any) -> None:
        self.counter = counter
        self.correction = 0
        self.seen = 0

    def before(self, layer: SparseLinear, args: tuple[torch.Tensor, ...]) -> None:
        self.seen = self.counter.get_total_flops()

    def after(self, layer: SparseLinear, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        rows = args[0].numel() // layer.in_features
        self.correction += 2 * layer.final_edges * rows - (self.counter.get_total_flops() - self.seen)
