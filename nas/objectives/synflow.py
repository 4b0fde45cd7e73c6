"""`synflow`: how much flows through a network whose weights are all positive."""

import copy
import math

import torch
from torch import Tensor

from nas.objectives import Context
from nas.registry import register


@register("objective", "synflow")
class Synflow:
    """Logarithm of the sum over the weights of weight · ∂R/∂weight, for weights made positive.

    R is the sum of the outputs for an input of ones; token ids, which have no ones, are those of a
    sample. Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic
    flow, NeurIPS 2020, equation 2; as a score Abdelfattah et al., Zero-cost proxies for lightweight NAS,
    ICLR 2021. No labels are needed.
    """

    direction = "maximize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """The logarithm of the score; that of the smallest number where nothing flows."""
        network = copy.deepcopy(context.network).double().eval()
        sample = context.sample
        inputs = {name: _ones(values) for name, values in sample.inputs.items()}
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            flow = network(inputs, sample.masks).sum()
            slopes = torch.autograd.grad(flow, parameters, allow_unused=True)
        pairs = [(p, s) for p, s in zip(parameters, slopes, strict=True) if s is not None]
        score = sum((parameter * slope).abs().sum().item() for parameter, slope in pairs)
        return math.log(max(score, 5e-324))


def _ones(values: Tensor) -> Tensor:
    return torch.ones_like(values, dtype=torch.double) if values.is_floating_point() else values
