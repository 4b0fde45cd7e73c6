"""Objectives: what a search maximises or minimises, and what every trial logs.

An objective is a component: `(**hp)` with `direction` (`maximize` or `minimize`), `cheap` (known
before training) and `logged` (measured in every trial, asked for or not); called with a `Context`,
it gives a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from nas.datasets import Batch
from nas.modality import ModalitySpec, Task
from nas.network import Network

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """What an objective may look at.

    Args:
        network: The network; trained, unless the objective is cheap.
        modalities: The dataset's modalities.
        task: The dataset's task.
        sample: One training sample, as a batch.
        outputs: Outputs on the evaluated split, `(N, out_dim)`; None before training.
        labels: Labels of that split, `(N,)`; None before training.
    """

    network: Network
    modalities: Mapping[str, ModalitySpec]
    task: Task
    sample: Batch
    outputs: Tensor | None = None
    labels: Tensor | None = None
