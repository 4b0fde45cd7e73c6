"""One modality of all samples, as arrays that are mapped into memory, and splits that read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.datasets import Batch, TensorSplit
from nas.datasets._texts import PADDING
from nas.modality import ModalitySpec

CHUNK = 256
MOST_MEASURED = 5000  # rows say enough about the mean and the deviation of a modality of files


@dataclass(frozen=True)
class Encoded:
    """One modality of all samples.

    Args:
        spec: What an encoder is told of it.
        array: `(n, …)`, mapped; its rows may be in any order.
        rows: By sample, its row in the array; -1 where the modality is missing.
        bad: Why samples cannot be read, by sample.
        mean: Subtracted from floats, of a shape that fits; None leaves them as they are.
        scale: Divides them then.
        masks: `(n, T)`, true for real tokens of a text; None where those are not padding.
        learnt: What the training samples have taught, as JSON data that encode other samples alike.
    """

    spec: ModalitySpec
    array: NDArray[Any]
    rows: NDArray[np.int64]
    bad: Mapping[int, str] = field(default_factory=dict)
    mean: NDArray[np.float32] | None = None
    scale: NDArray[np.float32] | None = None
    masks: NDArray[Any] | None = None
    learnt: Mapping[str, Any] = field(default_factory=dict)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Where the modality is there, `(N,)`."""
        return self.rows >= 0

    def values(self, samples: NDArray[np.int64]) -> Tensor:
        """The inputs of some samples, normalised; zeros where there is none."""
        rows = self.rows[samples]
        if not len(self.array):
            chosen = np.zeros((len(rows), *self.spec.shape), self.array.dtype)
        else:
            chosen = np.asarray(self.array[np.maximum(rows, 0)])
        if self.spec.kind == "text":
            chosen = chosen.astype(np.int64)
        else:
            chosen = chosen.astype(np.float32)
            if self.mean is not None and self.scale is not None:
                chosen -= self.mean
                chosen /= self.scale
        chosen[rows < 0] = 0
        return torch.from_numpy(chosen)

    def mask(self, samples: NDArray[np.int64], values: Tensor) -> Tensor:
        """True for the real tokens of some samples, whose values are given."""
        if self.masks is None:
            return values != PADDING
        rows = self.rows[samples]
        real = np.asarray(self.masks[np.maximum(rows, 0)]).astype(bool)
        return torch.from_numpy(real & (rows >= 0)[:, None])


@dataclass(frozen=True)
class MappedSplit:
    """A split whose samples are read from mapped arrays when a batch is asked for.

    Processes on one machine share the arrays; no process holds them a second time.

    Args:
        encoded: The modalities of all samples.
        samples: Those of this split, `(N,)`.
        labels: Of this split, `(N, …)`.
    """

    encoded: Mapping[str, Encoded]
    samples: NDArray[np.int64]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def complete(self) -> bool:
        """Whether no modality is missing in any sample of the data."""
        return all(bool((part.rows >= 0).all()) for part in self.encoded.values())

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        indices = indices.cpu()
        samples = self.samples[indices.numpy()]
        inputs = {name: part.values(samples) for name, part in self.encoded.items()}
        masks = {
            name: part.mask(samples, inputs[name])
            for name, part in self.encoded.items()
            if part.spec.kind == "text"
        }
        there = np.stack([part.present[samples] for part in self.encoded.values()], 1)
        return Batch(inputs, self.labels[indices], masks, None if self.complete else torch.from_numpy(there))

    def to(self, device: torch.device | str) -> TensorSplit:
        """The samples as tensors on a device."""
        batches = [self.batch(indices).to(device) for indices in torch.arange(len(self)).split(CHUNK)]
        first = batches[0]
        return TensorSplit(
            {name: torch.cat([batch.inputs[name] for batch in batches]) for name in first.inputs},
            torch.cat([batch.labels for batch in batches]),
            {name: torch.cat([batch.masks[name] for batch in batches]) for name in first.masks},
            None if first.present is None else torch.cat([batch.present for batch in batches]),  # type: ignore[misc]
        )


def moments(
    array: NDArray[Any], rows: NDArray[np.int64], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation over some rows of an array, read piece by piece; a deviation of 0 becomes 1.

    Args:
        array: `(n, …)`.
        rows: Rows of it; of many, some thousands are taken, evenly spread.
        axes: Axes over which to take them, the first included; those that are left keep their place.
    """
    rows = np.sort(rows[:: max(1, len(rows) // MOST_MEASURED)])
    if not len(rows):
        shape = [1 if axis in axes else size for axis, size in enumerate(array.shape)][1:]
        return np.zeros(shape, np.float32), np.ones(shape, np.float32)
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    count = len(rows) * int(np.prod([array.shape[axis] for axis in axes[1:]]))

    def mean(function: Any) -> NDArray[np.float64]:
        return (
            sum(function(array[chunk].astype(np.float64)).sum(axes, keepdims=True) for chunk in chunks)
            / count
        )

    with np.errstate(all="ignore"):  # whoever asks sees that the result is not finite
        center = mean(lambda values: values)
        scale = np.sqrt(mean(lambda values: (values - center) ** 2))
    return center[0].astype(np.float32), np.where(scale > 0, scale, 1)[0].astype(np.float32)
