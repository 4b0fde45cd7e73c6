"""Points of the contract that a dataset has to keep: what its batches are like."""

import json
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.datasets import Batch, Dataset
from nas.modality import ModalitySpec

SPLITS = ("train", "validation", "test")
FEW = 8


def _has_modalities(dataset: Dataset) -> Iterator[str]:
    if not dataset.modalities:
        yield "it has none"
    for name, spec in dataset.modalities.items():
        if not isinstance(spec, ModalitySpec):
            yield f"{name} is {spec!r}, not a nas.ModalitySpec"


def _has_splits(dataset: Dataset) -> Iterator[str]:
    for name in SPLITS:
        if name not in dataset.splits:
            yield f"{name} is missing; there are {', '.join(dataset.splits)}"
        elif not len(dataset.splits[name]):
            yield f"{name} is empty"


def _inputs_fit(dataset: Dataset) -> Iterator[str]:
    for split, batch in _batches(dataset):
        for name, spec in dataset.modalities.items():
            if name not in batch.inputs:
                yield f"{split}: the batch has no {name}"
                continue
            values, shape = batch.inputs[name], (len(batch.labels), *spec.shape)
            if tuple(values.shape) != shape:
                yield f"{split}: {name} is {tuple(values.shape)}, not {shape}"
            elif spec.kind == "text":
                yield from (f"{split}: {name} {fault}" for fault in _wrong_ids(values, spec))
            elif values.dtype != torch.float32 or not values.isfinite().all():
                yield f"{split}: {name} is {values.dtype}; finite float32 is expected"


def _wrong_ids(values: Tensor, spec: ModalitySpec) -> Iterator[str]:
    if values.dtype != torch.int64:
        yield f"is {values.dtype}; token ids are int64"
    elif spec.vocabulary is None or values.min() < 0 or values.max() >= spec.vocabulary:
        yield f"has ids up to {values.max()}; the vocabulary is {spec.vocabulary}"


def _masks_fit(dataset: Dataset) -> Iterator[str]:
    for split, batch in _batches(dataset):
        for name, mask in batch.masks.items():
            shape = tuple(batch.inputs[name].shape)
            time = -1 if dataset.modalities[name].kind == "audio" else 1
            if mask.dtype != torch.bool or mask.shape != (shape[0], shape[time]):
                yield f"{split}: the mask of {name} is {mask.dtype} {tuple(mask.shape)}, not bool (B, T)"
        shape = (len(batch.labels), len(dataset.modalities))
        there = batch.present
        if there is not None and (there.dtype != torch.bool or there.shape != shape):
            yield f"{split}: present is {there.dtype} {tuple(there.shape)}; bool {shape} is expected"


def _labels_fit(dataset: Dataset) -> Iterator[str]:
    task = dataset.task
    for split, batch in _batches(dataset):
        labels, several = batch.labels, (len(batch.labels), task.out_dim)
        if task.kind == "classification":
            wanted = f"int64 (B,) below {task.out_dim}"
            fits = labels.dtype == torch.int64 and labels.ndim == 1
            fits = fits and bool(((labels >= 0) & (labels < task.out_dim)).all())
        elif task.kind == "multilabel":
            wanted = f"zeros and ones (B, {task.out_dim})"
            fits = labels.shape == several and bool(((labels == 0) | (labels == 1)).all())
        else:
            wanted = f"finite numbers (B, {task.out_dim})"
            one = task.out_dim == 1 and labels.ndim == 1
            fits = (one or labels.shape == several) and bool(labels.isfinite().all())
        if not fits:
            yield f"{split}: labels are {labels.dtype} {tuple(labels.shape)}; {wanted} are expected"


def _batches_are_what_is_asked_for(dataset: Dataset) -> Iterator[str]:
    for name, split in dataset.splits.items():
        if len(split) < 2:
            continue
        asked = torch.tensor([len(split) - 1, 0, len(split) - 1])
        together = split.batch(asked)
        for place, index in enumerate(asked):
            alone = split.batch(index[None])
            for modality, values in alone.inputs.items():
                if not torch.equal(values[0], together.inputs[modality][place]):
                    yield f"{name}: {modality} of sample {index} differs from batch to batch"
            if not torch.equal(alone.labels[0], together.labels[place]):
                yield f"{name}: the label of sample {index} differs from batch to batch"


def _reads_new_samples(dataset: Dataset) -> Iterator[str]:
    """What has been learnt travels with a network as JSON, to a process that has nothing else."""
    if (learnt := getattr(dataset, "learnt", None)) is None:
        return
    if not callable(getattr(type(dataset), "unlabelled", None)):
        yield "it has `learnt`, and no class method `unlabelled` that reads new samples with it"
    try:
        same = json.loads(json.dumps(learnt)) == learnt
    except (TypeError, ValueError) as error:
        yield f"`learnt` is no JSON data: {error}"
    else:
        if not same:
            yield "`learnt` comes back from JSON as something else; give lists for tuples, and text for keys"


def _batches(dataset: Dataset) -> Iterator[tuple[str, Batch]]:
    """The first samples of every split, and the first alone."""
    for name, split in dataset.splits.items():
        for count in {1, min(FEW, len(split))} - {0}:
            yield name, split.batch(torch.arange(count))


POINTS: dict[str, Callable[[Dataset], Iterator[str]]] = {
    "modalities": _has_modalities,
    "splits": _has_splits,
    "inputs are as the modalities say": _inputs_fit,
    "masks and present": _masks_fit,
    "labels are as the task says": _labels_fit,
    "a batch has the samples that are asked for": _batches_are_what_is_asked_for,
    "new samples": _reads_new_samples,
}
