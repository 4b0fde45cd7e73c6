"""Missing modalities: taken from samples, by name or by lot."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch
from nas.seeds import derive
from nas.training.hooks import Hook


def presence(batch: Batch, count: int) -> Tensor:
    """Which of `count` modalities every sample has: bool `(B, count)`."""
    if batch.present is not None:
        return batch.present
    return torch.ones(len(batch.labels), count, dtype=torch.bool, device=batch.labels.device)


def keep_only(batch: Batch, modalities: Sequence[str], kept: Collection[str]) -> Batch:
    """The batch without all modalities but some.

    Args:
        batch: The batch.
        modalities: Names of the dataset's modalities, in its order.
        kept: Names of those that stay where they are.
    """
    there = presence(batch, len(modalities))
    staying = torch.tensor([name in kept for name in modalities], device=there.device)
    return replace(batch, present=there & staying)


def drop(present: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Take modalities from samples by lot, each on its own, but never the last of a sample.

    Args:
        present: bool `(B, M)`.
        probability: Probability of each modality that is there to be taken.
        generator: On the CPU.

    Returns:
        bool `(B, M)`. Of a sample that would lose all, one stays that it has, each as likely.
    """
    lots = torch.rand(present.shape, generator=generator).to(present.device)
    kept = present & (lots >= probability)
    # The largest lot among those present is a uniform choice, also given that all lots are small.
    last = torch.where(present, lots, -1).argmax(1, keepdim=True)
    spared = torch.zeros_like(present).scatter(1, last, True) & present
    return torch.where(kept.any(1, keepdim=True), kept, spared)


class ModalityDropout(Hook):
    """Lets a network learn from samples that lack modalities (ModDrop, Neverova et al., arXiv 1501.00102).

    Of every sample on its own each modality that the network uses is taken with a probability, but
    never the last one that is there.

    Args:
        columns: Those of `present` that belong to the network's modalities.
        count: Number of modalities of the dataset.
        probability: Probability of each modality to be taken.
        seed: Seed of the lots.
    """

    def __init__(self, columns: Sequence[int], count: int, probability: float, seed: int) -> None:
        self.columns = list(columns)
        self.count = count
        self.probability = probability
        self.generator = torch.Generator().manual_seed(derive(seed, "modality_dropout"))

    def batch(self, step: int, batch: Batch) -> Batch:
        """The batch with fewer modalities."""
        present = presence(batch, self.count).clone()
        present[:, self.columns] = drop(present[:, self.columns], self.probability, self.generator)
        return replace(batch, present=present)

    def state_dict(self) -> dict[str, Any]:
        """Where the lots are."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Draw on from there."""
        self.generator.set_state(state["generator"])
