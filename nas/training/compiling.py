"""A network compiled by `torch.compile`, for trainings that are long enough to pay for it."""

from collections.abc import Callable
from typing import Any

import torch

from nas.errors import TrialError
from nas.network import Network

# Dropout draws as it does without compilation.
OPTIONS: dict[str, Any] = {"fallback_random": True}


def compiled(network: Network) -> Callable[..., Any]:
    """A function that computes what a network does, compiled at its first call; weights stay shared.

    Args:
        network: The network.

    Raises:
        TrialError: By the function: the network cannot be compiled here.
    """
    from torch._dynamo.exc import TorchDynamoException  # heavy, and seldom needed

    function = torch.compile(network, options=OPTIONS)

    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except TorchDynamoException as error:
            reason = next(line for line in str(error).splitlines() if line.strip())
            advice = "it needs a C++ compiler, such as g++; train without compiling instead"
            raise TrialError("error", f"torch.compile fails: {reason}; {advice}") from error

    return call
