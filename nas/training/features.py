"""Frozen encoders: every one is trained once on its modality alone, and what it makes of the samples is kept.

A candidate then trains on features: the rest of its network learns as if the encoders were a part of
the data.
"""

import fcntl
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from nas.datasets import Batch, Dataset, Split, TensorSplit
from nas.datasets._cache import Cache
from nas.experiment import Training
from nas.modality import Task
from nas.network import Alone, Network, Rescale, build_encoder
from nas.registry import get
from nas.seeds import derive
from nas.training.loop import Epoch, train

USED = ("train", "validation")  # the test split is for retraining alone
BATCH = 512


@dataclass(frozen=True)
class Features:
    """What a trained encoder makes of one modality.

    Args:
        state: The encoder's state_dict.
        tokens: By split: `(N, T, d)`.
        masks: By split: which tokens are real, bool `(N, T)`; empty where all are.
    """

    state: Mapping[str, Tensor]
    tokens: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    def to_file(self) -> bytes:
        """All of it in the format safetensors."""
        parts = {"state": self.state, "tokens": self.tokens, "masks": self.masks}
        flat = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
        return save({name: tensor.detach().cpu().contiguous() for name, tensor in flat.items()})

    @classmethod
    def from_file(cls, file: Path, device: torch.device) -> "Features":
        """What `to_file` gave.

        Raises:
            SafetensorError: The file is not whole.
        """
        parts: dict[str, dict[str, Tensor]] = {"state": {}, "tokens": {}, "masks": {}}
        for name, tensor in load_file(file).items():
            part, _, own = name.partition("/")
            parts[part][own] = tensor.to(device)
        return cls(**parts)


class FeatureStore:
    """The features of a dataset, each made once: by this process, or by any other that shares the cache.

    They are kept on disk by the content of the modality, the encoder with its settings and its source, and
    the training. Of two processes that want the same, one makes it and the other waits.

    Args:
        dataset: The dataset.
        splits: Its splits `train` and `validation`, on the device.
        training: How encoders are trained. What the search space decides of it does not count here.
        device: Where they are trained.
        cache: Folder of the cache; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for None.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Mapping[str, Split],
        training: Training,
        device: torch.device,
        cache: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.splits = {name: splits[name] for name in USED}
        self.training = training.model_copy(update={"identifiability": False})
        self.device = device
        self.cache = Cache(cache)
        self._known: dict[str, Features] = {}

    def features(self, modality: str, selection: Any, dim: int) -> Features:
        """What an encoder of a modality makes of it.

        Args:
            modality: Name of the modality.
            selection: The encoder, as an architecture has it.
            dim: Width of its tokens.
        """
        key = self._key(modality, selection, dim)
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        if name not in self._known:
            self._known[name] = self._kept(name, key, modality, selection, dim)
        return self._known[name]

    def _kept(self, name: str, key: Any, modality: str, selection: Any, dim: int) -> Features:
        def write(stream: Any) -> None:
            stream.write(self._make(modality, selection, dim, derive(name)).to_file())

        with self.cache.writable():
            lock = (self.cache.folder / f".{name}.lock").open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = self.cache.file(key, write)
            try:
                return Features.from_file(file, self.device)
            except SafetensorError:  # something other than this program has damaged it
                file.unlink()
                return Features.from_file(self.cache.file(key, write), self.device)

    def _key(self, modality: str, selection: Any, dim: int) -> dict[str, Any]:
        name = next(iter(selection)) if isinstance(selection, Mapping) else selection
        source = Path(inspect.getfile(get("encoder", name))).read_bytes()
        return {
            "content": [self._samples.digests[modality], hashlib.sha256(source).hexdigest()],
            "encoder": [selection, dim, self.dataset.modalities[modality].to_data()],
            "task": self.dataset.task.to_data(),
            "training": self.training.model_dump(exclude={"encoders", "identifiability"}),
            "device": self.device.type,
        }

    def _make(self, modality: str, selection: Any, dim: int, seed: int) -> Features:
        """Train the encoder with a linear head on its modality alone, then encode every sample."""
        spec, task = self.dataset.modalities[modality], self.dataset.task
        encoder = build_encoder(selection, spec, dim, derive(seed, "initialisation"))
        network = alone(modality, encoder, dim, task, derive(seed, "head")).to(self.device)
        column = list(self.dataset.modalities).index(modality)
        views = {name: OneModality(split, modality, column) for name, split in self.splits.items()}
        train(network, views["train"], views["validation"], self.training, seed)
        encoded = {name: _encode(network, modality, view) for name, view in views.items()}
        return Features(
            network.encoders[modality].state_dict(),
            {name: tokens for name, (tokens, _) in encoded.items()},
            {name: mask for name, (_, mask) in encoded.items() if mask is not None},
        )

    def split(self, name: str, features: Mapping[str, Features]) -> TensorSplit:
        """A split of which the inputs are features, by modality."""
        labels, present = self._samples.answers[name]
        tokens = {modality: own.tokens[name] for modality, own in features.items()}
        masks = {modality: own.masks[name] for modality, own in features.items() if name in own.masks}
        return TensorSplit(tokens, labels, masks, present)

    @cached_property
    def _samples(self) -> "_Samples":
        return _Samples.read(self.splits, list(self.dataset.modalities))


@dataclass(frozen=True)
class _Samples:
    """What one pass over the splits tells.

    Args:
        digests: By modality, of its content, with the labels and what is present.
        answers: By split: the labels, and what is present.
    """

    digests: Mapping[str, str]
    answers: Mapping[str, tuple[Tensor, Tensor | None]]

    @classmethod
    def read(cls, splits: Mapping[str, Split], modalities: Sequence[str]) -> "_Samples":
        hashes = {modality: hashlib.sha256() for modality in modalities}
        answers = {}
        for name, split in splits.items():
            batches = list(map(split.batch, torch.arange(len(split)).split(BATCH)))
            for batch in batches:
                for modality, digest in hashes.items():
                    for tensor in (batch.inputs[modality], batch.masks.get(modality), batch.labels):
                        _digest(digest, tensor)
                    _digest(digest, None if batch.present is None else batch.present)
            labels = torch.cat([batch.labels for batch in batches])
            there = [batch.present for batch in batches if batch.present is not None]
            answers[name] = (labels, torch.cat(there) if there else None)
        return cls({modality: digest.hexdigest() for modality, digest in hashes.items()}, answers)


def _digest(digest: Any, tensor: Tensor | None) -> None:
    if tensor is None:
        digest.update(b"none")
    else:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())


@dataclass(frozen=True)
class OneModality:
    """A split as a network of one modality sees it."""

    whole: Split
    modality: str
    column: int

    def __len__(self) -> int:
        return len(self.whole)

    def batch(self, indices: Tensor) -> Batch:
        """The samples at `indices`, int64 of shape `(B,)`."""
        batch, name = self.whole.batch(indices), self.modality
        present = None if batch.present is None else batch.present[:, [self.column]]
        masks = {name: batch.masks[name]} if name in batch.masks else {}
        return Batch({name: batch.inputs[name]}, batch.labels, masks, present)


class _Given(nn.Module):
    """In the place of an encoder: what it made of the samples."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return tokens


def alone(modality: str, encoder: nn.Module, dim: int, task: Task, seed: int) -> Network:
    """An encoder with a linear head.

    Args:
        modality: Name of its modality.
        encoder: The encoder.
        dim: Width of its tokens.
        task: What is predicted.
        seed: Seed of the head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head: nn.Module = nn.Linear(dim, task.out_dim)
    if task.center:
        head = nn.Sequential(head, Rescale(task.center, task.scale))
    return Network({modality: encoder}, nn.Identity(), Alone([dim]), head, task, [modality], {})


@torch.no_grad()
def _encode(network: Network, modality: str, split: OneModality) -> tuple[Tensor, Tensor | None]:
    """Tokens of every sample, and which are real; zeros stand for a sample without the modality."""
    network.eval()
    encoder = network.encoders[modality]
    device = next(network.parameters()).device
    own: Callable[[Tensor], Tensor] = getattr(encoder, "token_mask", lambda mask: mask)
    tokens, masks = [], []
    for indices in torch.arange(len(split)).split(BATCH):
        batch = split.batch(indices).to(device)
        values, mask = batch.inputs[modality], batch.masks.get(modality)
        if batch.present is not None:
            values = values.masked_fill(~batch.present.view(-1, *[1] * (values.dim() - 1)), 0)
        tokens.append(encoder(values, mask))
        masks += [] if mask is None else [own(mask)]
    return torch.cat(tokens), torch.cat(masks) if masks else None


def train_on_features(
    network: Network,
    store: FeatureStore,
    selections: Mapping[str, Any],
    dim: int,
    settings: Training,
    seed: int,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Give a network its trained encoders, and train the rest of it on what they make of the samples.

    Args:
        network: The network; whole again whenever `on_epoch` is called, and afterwards.
        store: Where features are from.
        selections: The encoder of every modality, as an architecture has them.
        dim: Width of the tokens.
        settings: As for `train`.
        seed: As for `train`.
        on_epoch: As for `train`.

    Raises:
        TrialError: The loss is not finite (kind `nan`).
    """
    names = list(network.encoders)
    features = {name: store.features(name, selections[name], dim) for name in names}
    for name, own in features.items():
        network.encoders[name].load_state_dict(own.state)
    encoders = network.encoders

    def whole(epoch: Epoch) -> None:
        with _encoders(network, encoders):
            on_epoch(epoch)

    training, validation = (store.split(name, features) for name in USED)
    with _encoders(network, nn.ModuleDict({name: _Given() for name in names})):
        train(network, training, validation, settings, seed, whole)


@contextmanager
def _encoders(network: Network, encoders: nn.ModuleDict) -> Iterator[None]:
    """The network with other encoders."""
    own, network.encoders = network.encoders, encoders
    try:
        yield
    finally:
        network.encoders = own
