"""Folds: the samples that are not for the test, divided so that each part validates once."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.datasets import Batch, Dataset, Split, all_labels
from nas.errors import RequestError
from nas.seeds import derive

USED = ("train", "validation")


def folds(dataset: Dataset, count: int, column: str | None = None) -> list[dict[str, Split]]:
    """The splits `train` and `validation` of every fold; with one fold those of the dataset.

    Classes have like shares in all folds, and the samples of a group are in one. The folds follow from
    the data alone, so that every search on them has the same.

    Args:
        dataset: The dataset.
        count: Number of folds.
        column: Column of the groups; None where every sample is on its own.

    Raises:
        RequestError: The dataset has no such groups, or there are too few of them.
    """
    own = {name: dataset.splits[name] for name in USED}
    if count == 1:
        return [own]
    both = Joined(own["train"], own["validation"])
    units: Sequence[Hashable] = range(len(both))
    if column is not None:
        values = _groups(dataset, column)
        units = [value for name in USED for value in values[name]]
    if len(set(units)) < count:
        raise RequestError(f"validation.folds is {count}, and there are {len(set(units))} groups to divide")
    strata = np.zeros(len(both), int)
    if dataset.task.kind == "classification":
        strata = torch.cat([all_labels(split) for split in own.values()]).cpu().numpy()
    member = torch.from_numpy(divide(units, strata, count))
    return [
        {
            "train": Part(both, torch.nonzero(member != fold)[:, 0]),
            "validation": Part(both, torch.nonzero(member == fold)[:, 0]),
        }
        for fold in range(count)
    ]


def _groups(dataset: Dataset, column: str) -> Mapping[str, Sequence[Hashable]]:
    groups = getattr(dataset, "groups", None)
    if groups is None:
        raise RequestError(f"validation.groups is {column!r}, and this dataset offers no groups")
    found: Mapping[str, Sequence[Hashable]] = groups(column)
    return found


def divide(units: Sequence[Hashable], strata: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The fold of every sample, `(N,)`: the largest units first, each where its classes are rarest.

    Args:
        units: What must not be divided, by sample.
        strata: Class of every sample.
        count: Number of folds.
    """
    _, unit, sizes = np.unique(np.array([str(u) for u in units]), return_inverse=True, return_counts=True)
    contents = np.zeros((len(sizes), int(strata.max()) + 1))
    np.add.at(contents, (unit, strata), 1)
    rng = np.random.default_rng(derive("folds", len(strata)))
    order = rng.permutation(len(sizes))
    placed, held = np.zeros(len(sizes), int), np.zeros((count, contents.shape[1]))
    for which in order[np.argsort(-sizes[order], kind="stable")]:
        crowd = held @ contents[which]  # samples of its classes that a fold holds, and all of its samples
        placed[which] = int(np.lexsort((held.sum(1), crowd))[0])
        held[placed[which]] += contents[which]
    return placed[unit]


@dataclass(frozen=True)
class Part:
    """Some samples of a split."""

    whole: Split
    indices: Tensor
    labels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", all_labels(self.whole)[self.indices])

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        return self.whole.batch(self.indices[indices])


@dataclass(frozen=True)
class Joined:
    """Two splits one after the other."""

    first: Split
    second: Split

    @property
    def labels(self) -> Tensor:
        """Those of all samples."""
        return torch.cat([all_labels(self.first), all_labels(self.second)])

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        second = indices >= len(self.first)
        if not second.any():
            return self.first.batch(indices)
        if second.all():
            return self.second.batch(indices - len(self.first))
        parts = [
            self.first.batch(indices[~second]),
            self.second.batch(indices[second] - len(self.first)),
        ]
        place = torch.cat([torch.nonzero(~second)[:, 0], torch.nonzero(second)[:, 0]]).argsort()
        return _together(parts, place)


def _together(parts: Sequence[Batch], place: Tensor) -> Batch:
    """Batches as one, in another order."""
    one, other = parts
    order = place.to(one.labels.device)

    def join(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b])[order]

    present = None
    if one.present is not None or other.present is not None:
        present = join(_present(one), _present(other))
    return Batch(
        {name: join(values, other.inputs[name]) for name, values in one.inputs.items()},
        join(one.labels, other.labels),
        {name: join(mask, other.masks[name]) for name, mask in one.masks.items()},
        present,
    )


def _present(batch: Batch) -> Tensor:
    if batch.present is not None:
        return batch.present
    return torch.ones(len(batch.labels), len(batch.inputs), dtype=torch.bool, device=batch.labels.device)
