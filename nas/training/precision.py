"""What numbers a network computes with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch


def outputs_of(network: Callable[..., Any], batch: Batch, precision: str) -> Tensor:
    """A network's outputs on a batch, in the network's own numbers.

    Args:
        network: The network.
        batch: Samples on its device.
        precision: As `training.precision` of an experiment; `bfloat16` computes under autocast.
    """
    if precision != "bfloat16":
        outputs: Tensor = network(batch.inputs, batch.masks, batch.present)
        return outputs
    with torch.autocast(batch.labels.device.type, torch.bfloat16):
        outputs = network(batch.inputs, batch.masks, batch.present)
        return outputs.float()


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Let `float32` products be computed as the precision says, and as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
