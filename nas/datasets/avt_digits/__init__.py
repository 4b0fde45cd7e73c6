"""`avt_digits`: a digit seen, heard and written, in three noisy modalities.

Handwritten digits of the UCI collection with noise and an occlusion; the digit spoken under noise,
in eight related languages and many voices; the number word in another language with lost characters.
No handwritten image and no voice of one split is in another. `build.py` makes the file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.datasets import TensorSplit, check_modalities
from nas.errors import RequestError
from nas.modality import ModalitySpec, Task
from nas.registry import register

FILE = Path(__file__).with_name("avt_digits.npz")
SPLITS = ("train", "validation", "test")
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@register("dataset", "avt_digits")
class AVTDigits:
    """About 7,000 samples of ten classes: image (1, 8, 8), audio (1, 32, 32) log-mel, text ids.

    Images and spectrograms are standardised by the mean and deviation of the training split.

    Args:
        modalities: Those to load, of `image`, `audio` and `text`; all of them for None.

    Raises:
        ValueError: A modality does not exist.
        RequestError: The file is damaged.
    """

    def __init__(self, modalities: Sequence[str] | None = None) -> None:
        chosen = check_modalities(modalities, ("image", "audio", "text"))
        _check_sum()
        with np.load(FILE) as stored:
            splits, labels = stored["split"], torch.from_numpy(stored["label"].astype(np.int64))
            values = {name: stored[name] for name in chosen}
            vocabulary = len(stored["characters"]) + 1
        inputs = {name: _tensor(name, array, splits == 0) for name, array in values.items()}
        self.task = Task("classification", CLASSES)
        self.modalities = {
            name: ModalitySpec(name, tuple(tensor.shape[1:]), vocabulary if name == "text" else None)
            for name, tensor in inputs.items()
        }
        self.splits = {
            name: _split(inputs, labels, torch.from_numpy(splits == code)) for code, name in enumerate(SPLITS)
        }


def _check_sum() -> None:
    expected = FILE.with_name(f"{FILE.name}.sha256").read_text().split()[0]
    if hashlib.sha256(FILE.read_bytes()).hexdigest() != expected:
        raise RequestError(f"{FILE} is damaged: its checksum is not {expected[:12]}…; install nas again")


def _tensor(name: str, array: NDArray[np.uint8], training: NDArray[np.bool_]) -> Tensor:
    if name == "text":
        return torch.from_numpy(array.astype(np.int64))
    values = array.astype(np.float32)[:, None]
    return torch.from_numpy((values - values[training].mean()) / values[training].std())


def _split(inputs: dict[str, Tensor], labels: Tensor, members: Tensor) -> TensorSplit:
    own = {name: values[members] for name, values in inputs.items()}
    masks = {"text": own["text"] != 0} if "text" in own else {}
    return TensorSplit(own, labels[members], masks)
