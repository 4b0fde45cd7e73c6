"""`naswot`: how differently an untrained network's units react to different samples."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nas.objectives import Context
from nas.registry import register

ACTIVATIONS = {"aten::relu", "aten::gelu", "aten::silu", "aten::leaky_relu", "aten::elu"}
JITTER = 1e-6


@register("objective", "naswot")
class Naswot:
    """Log-determinant of the samples' likeness: the share of units on whose sign two of them agree.

    Mellor et al., Neural architecture search without training, ICML 2021, equations 2 and 3, divided by
    the number of units, so that networks of different sizes can be compared, and with 1e-6 on the
    diagonal, so that it is finite. A unit is one number that goes into an activation.
    """

    direction = "maximize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """The log-determinant, at most 0; 0 for a network without activations."""
        batch, codes = context.some, _Codes(len(context.some.labels))
        with torch.random.fork_rng(devices=[]), context.predicting(), codes:
            context.network(batch.inputs, batch.masks, batch.present)
        return log_determinant(torch.cat(codes.found, 1)) if codes.found else 0.0


def log_determinant(codes: Tensor) -> float:
    """Of the likeness of samples by their binary codes, bool `(N, units)`."""
    signs = 2 * codes.double() - 1
    likeness = (signs @ signs.T / signs.shape[1] + 1) / 2
    return float(torch.linalg.slogdet(likeness + JITTER * torch.eye(len(likeness)).to(likeness))[1])


class _Codes(TorchDispatchMode):
    """Notes which numbers are positive that go into activations with one row per sample."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in ACTIVATIONS and args[0].shape[:1] == (self.samples,):
            self.found.append(args[0].detach().flatten(1) > 0)
        return func(*args, **(kwargs or {}))
