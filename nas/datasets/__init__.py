"""Datasets: several modalities per sample, a task, and the splits `train`, `validation` and `test`.

A dataset is a component: `(**options)` with `.modalities`, `.task` and `.splits`. A split gives
batches by index, so that it may keep its samples in memory, on a device or on disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from nas.modality import ModalitySpec, Task
from nas.registry import create

__all__ = ["Batch", "Dataset", "JoinedSplit", "Split", "TensorSplit", "all_labels", "load_dataset"]

LABELS_BATCH = 512


@dataclass(frozen=True)
class Batch:
    """Some samples of a dataset.

    Args:
        inputs: By modality: tensors whose first axis is the batch.
        labels: int64 class indices `(B,)`, zeros and ones `(B, L)`, or numbers `(B,)` or `(B, T)`, as
            the task asks for.
        masks: By modality, where samples differ in length: bool `(B, T)`, true for real tokens, or for
            the real frames of a sound.
        present: bool `(B, M)` in the order of the dataset's modalities; None where all are there.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    present: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors take."""
        tensors = [*self.inputs.values(), self.labels, *self.masks.values()]
        return sum(tensor.nbytes for tensor in tensors)

    def to(self, device: torch.device | str) -> "Batch":
        """The same samples on another device."""
        return Batch(
            {name: values.to(device) for name, values in self.inputs.items()},
            self.labels.to(device),
            {name: mask.to(device) for name, mask in self.masks.items()},
            None if self.present is None else self.present.to(device),
        )


class Split(Protocol):
    """Samples that are used for one purpose.

    A split whose inputs are costly to read may have a tensor `labels` of all its samples as well.
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        ...


class Dataset(Protocol):
    """What the engine asks of a dataset."""

    modalities: Mapping[str, ModalitySpec]
    task: Task
    splits: Mapping[str, Split]


@dataclass(frozen=True)
class TensorSplit:
    """A split whose samples are tensors in memory; arguments as those of `Batch`."""

    inputs: Mapping[str, Tensor]
    labels: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        return Batch(
            {name: values[indices] for name, values in self.inputs.items()},
            self.labels[indices],
            {name: mask[indices] for name, mask in self.masks.items()},
            None if self.present is None else self.present[indices],
        )

    def to(self, device: torch.device | str) -> "TensorSplit":
        """The same samples on another device."""
        return TensorSplit(**vars(Batch(**vars(self)).to(device)))


def all_labels(split: Split) -> Tensor:
    """The labels of all samples of a split, in its order."""
    labels = getattr(split, "labels", None)
    if isinstance(labels, Tensor) and len(labels) == len(split):
        return labels
    return torch.cat(
        [split.batch(indices).labels for indices in torch.arange(len(split)).split(LABELS_BATCH)]
    )


def standardised(task: Task, training: Split) -> Task:
    """A regression with the mean and the deviation of its targets on the training split.

    A target that is always the same has a deviation of 1. A task that knows its figures keeps them.
    """
    if task.center:
        return task
    targets = all_labels(training).double().view(len(training), task.out_dim)
    deviation = targets.std(0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    return replace(task, center=tuple(targets.mean(0).tolist()), scale=tuple(scale.tolist()))


@dataclass(frozen=True)
class JoinedSplit:
    """Several splits of one dataset, one after another."""

    parts: Sequence[Split]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`, counted through the parts."""
        ends = torch.tensor([len(part) for part in self.parts]).cumsum(0)
        homes = torch.bucketize(indices, ends, right=True)
        chosen = [(homes == home).nonzero()[:, 0] for home in range(len(self.parts))]
        starts = [0, *ends[:-1].tolist()]
        batches = [
            part.batch(indices[places] - start)
            for part, places, start in zip(self.parts, chosen, starts, strict=True)
            if len(places)
        ]
        order = torch.cat(chosen).argsort()
        return _joined(batches, order) if batches else self.parts[0].batch(indices)


def _joined(batches: Sequence[Batch], order: Tensor) -> Batch:
    """Several batches as one, whose samples are then taken in `order`."""

    def join(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))[order.to(parts[0].device)]

    present = None
    if any(batch.present is not None for batch in batches):
        present = join([_all_there(one) if one.present is None else one.present for one in batches])
    return Batch(
        {name: join([batch.inputs[name] for batch in batches]) for name in batches[0].inputs},
        join([batch.labels for batch in batches]),
        {name: join([batch.masks[name] for batch in batches]) for name in batches[0].masks},
        present,
    )


def _all_there(batch: Batch) -> Tensor:
    shape = (len(batch.labels), len(batch.inputs))
    return torch.ones(shape, dtype=torch.bool, device=batch.labels.device)


def load_dataset(name: str, *args: Any, **options: Any) -> Dataset:
    """Load a registered dataset.

    Args:
        name: Name of the dataset component; see `nas.available("dataset")`.
        args: Where the data are, for datasets that are told.
        options: Options of that dataset.

    Raises:
        RequestError: There is no such dataset or option, or its files are not what they should be.

    >>> dataset = load_dataset("avt_digits", modalities=["image"])
    >>> dataset.modalities["image"].shape
    (1, 8, 8)
    """
    dataset: Dataset = create("dataset", name, *args, **options)
    if dataset.task.kind == "regression":
        dataset.task = standardised(dataset.task, dataset.splits["train"])
    return dataset


def check_modalities(chosen: Sequence[str] | None, there: Sequence[str]) -> list[str]:
    """The chosen modalities in the dataset's order; all of them for None.

    Raises:
        ValueError: One is not there, or none is chosen.
    """
    chosen = list(there) if chosen is None else list(chosen)
    for name in chosen:
        if name not in there:
            raise ValueError(f"modality {name!r} is not in the data; there are {', '.join(there)}")
    if not chosen:
        raise ValueError(f"choose at least one modality of {', '.join(there)}")
    return [name for name in there if name in chosen]
