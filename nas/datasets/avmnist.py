"""`avmnist`: digits seen and spoken, in the layout of MultiBench (Liang et al. 2021, arXiv 2107.07502).

image/train_data.npy  image/test_data.npy    (N, 784), from 0 to 255
audio/train_data.npy  audio/test_data.npy    (N, 112, 112), from 0 to 255
train_labels.npy      test_labels.npy        (N,), from 0 to 9
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.datasets import check_modalities
from nas.datasets._encoded import Encoded, MappedSplit
from nas.datasets._stored import mapped
from nas.errors import KeyPathError, RequestError
from nas.modality import ModalitySpec, Task
from nas.registry import register

SHAPES = {"image": (1, 28, 28), "audio": (1, 112, 112)}
SCALE = np.array([255], np.float32)


@register("dataset", "avmnist")
class AVMNIST:
    """Handwritten digits (1, 28, 28) and spectrograms of spoken ones (1, 112, 112), divided by 255.

    Args:
        source: The folder.
        modalities: Those to load, of `image` and `audio`; both for None.
        train: Number of training samples; those of the training files that are left are for validation.

    Raises:
        ValueError: A modality does not exist.
        KeyPathError: `train` leaves no sample for training, or none for validation.
        RequestError: A file is not there, or is not what it should be.
    """

    def __init__(self, source: str, modalities: Sequence[str] | None = None, train: int = 55_000) -> None:
        chosen = check_modalities(modalities, list(SHAPES))
        self.task = Task("classification", tuple("0123456789"))
        self.modalities = {name: ModalitySpec(name, SHAPES[name]) for name in chosen}
        learnt, learnt_labels = _part(Path(source), "train", self.modalities)
        tested, tested_labels = _part(Path(source), "test", self.modalities)
        count = len(learnt_labels)
        if type(train) is not int or not 0 < train < count:
            raise KeyPathError(
                ("train",),
                f"{train!r} is not allowed; {source} has {count} samples for training and validation: "
                f"give a whole number from 1 to {count - 1}",
            )
        self.splits = {
            "train": MappedSplit(learnt, np.arange(train), learnt_labels[:train]),
            "validation": MappedSplit(learnt, np.arange(train, count), learnt_labels[train:]),
            "test": MappedSplit(tested, np.arange(len(tested_labels)), tested_labels),
        }


def _part(
    folder: Path, part: str, modalities: dict[str, ModalitySpec]
) -> tuple[dict[str, Encoded], torch.Tensor]:
    """The modalities and the labels of the training or the test files."""
    file = folder / f"{part}_labels.npy"
    labels: NDArray[Any] = np.asarray(mapped(file, str(file)))
    if labels.ndim != 1 or not np.isin(labels, np.arange(10)).all():
        raise RequestError(f"{file} does not hold one digit per sample")
    encoded = {
        name: _encoded(folder / name / f"{part}_data.npy", spec, len(labels))
        for name, spec in modalities.items()
    }
    return encoded, torch.from_numpy(labels.astype(np.int64))


def _encoded(file: Path, spec: ModalitySpec, count: int) -> Encoded:
    array = mapped(file, str(file))
    size = int(np.prod(spec.shape))
    if array.ndim < 2 or len(array) != count or array[:1].size != size:
        raise RequestError(f"{file} is {array.shape}; {count} samples of {size} numbers each are expected")
    array = array.reshape(count, *spec.shape)
    return Encoded(spec, array, np.arange(count), mean=np.zeros(1, np.float32), scale=SCALE)
