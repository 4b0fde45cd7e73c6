"""How a trained network depends on its modalities: subsets, contributions, noise, what it is sure of.

Every function gives plain values, ready for JSON. A score is any figure of outputs `(N, out_dim)` and
labels; `accuracy` is one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from math import factorial
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch, Split
from nas.network import Network
from nas.seeds import derive
from nas.training import predict
from nas.training.missing import keep_only, presence

Score = Callable[[Tensor, Tensor], float]
LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0)
RATES = (0.0, 0.25, 0.5, 0.75, 1.0)
BINS = 10


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Share of the samples whose largest output is that of their class."""
    return (outputs.argmax(1) == labels).double().mean().item()


def subset_scores(
    network: Network, split: Split, score: Score = accuracy, empty: bool = False
) -> dict[tuple[str, ...], float]:
    """The score with every set of the network's modalities present and the others absent.

    Args:
        network: A trained network.
        split: The split.
        score: What is measured.
        empty: Whether nothing at all is one of the sets.

    Returns:
        By the names of the modalities, in the dataset's order, smaller sets first.
    """
    names = list(network.encoders)
    sizes = range(0 if empty else 1, len(names) + 1)
    sets = chain.from_iterable(combinations(names, size) for size in sizes)
    return {chosen: score(*_with(network, split, chosen)) for chosen in sets}


def shapley(values: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    """Shapley value of every modality (Shapley 1953): its mean gain over all orders in which they may come.

    φ_m = Σ_S |S|! (M − |S| − 1)! / M! · (v(S ∪ m) − v(S)) over the sets S without m. They sum to the
    value of all modalities minus that of none.

    Args:
        values: The value of every set, the empty one included, as `subset_scores(…, empty=True)` gives.
    """
    names = max(values, key=len)
    worth = {frozenset(chosen): value for chosen, value in values.items()}
    count = len(names)

    def value(name: str) -> float:
        return sum(
            factorial(len(chosen))
            * factorial(count - len(chosen) - 1)
            / factorial(count)
            * (worth[chosen | {name}] - worth[chosen])
            for chosen in worth
            if name not in chosen
        )

    return {name: value(name) for name in names}


def missing_curve(
    network: Network,
    split: Split,
    modality: str,
    rates: Sequence[float] = RATES,
    seed: int = 0,
    score: Score = accuracy,
) -> dict[float, float]:
    """The score where a share of the samples lacks a modality.

    The samples that lack it at one rate lack it at every higher one.

    Args:
        network: A trained network.
        split: The split.
        modality: Which is missing.
        rates: Shares of the samples, 0 to 1.
        seed: Seed of the choice of the samples.
        score: What is measured.
    """

    def without(batch: Batch, rate: float, lots: _Lots) -> Batch:
        there = presence(batch, len(network.modalities)).clone()
        taken = lots.uniform(len(batch.labels)).to(there.device) < rate
        there[:, network.modalities.index(modality)] &= ~taken
        return replace(batch, present=there)

    return _curve(network, split, rates, without, derive(seed, "missing", modality), score)


def noise_curve(
    network: Network,
    split: Split,
    modality: str,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    score: Score = accuracy,
) -> dict[float, float]:
    """The score where a modality is noisy; level 0 is the clean signal.

    Numbers get normal noise with a standard deviation of `level` times that of the modality in the
    batch. Of token ids a share min(level, 1) is replaced by random ones, padding left as it is.

    Args:
        network: A trained network.
        split: The split.
        modality: Which is noisy.
        levels: How much, 0 or more.
        seed: Seed of the noise.
        score: What is measured.
    """

    def with_noise(batch: Batch, level: float, lots: _Lots) -> Batch:
        noisy = _noisy(batch.inputs[modality], level, lots)
        return replace(batch, inputs=dict(batch.inputs) | {modality: noisy})

    return _curve(network, split, levels, with_noise, derive(seed, "noise", modality), score)


def calibration(outputs: Tensor, labels: Tensor, bins: int = BINS) -> dict[str, Any]:
    """How far the probabilities of a classification can be trusted.

    Args:
        outputs: `(N, C)`.
        labels: Class indices `(N,)`.
        bins: Number of bins of equal width of the largest probability.

    Returns:
        `ece`, the expected calibration error (Guo et al., arXiv 1706.04599), and `bins`: from the lowest
        to the highest, `confidence`, `accuracy` and `count` of those that hold samples.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities = outputs.softmax(1)
    ece = multiclass_calibration_error(probabilities, labels, outputs.shape[1], n_bins=bins)
    sure, predicted = probabilities.max(1)
    places = (sure * bins).long().clamp(max=bins - 1)
    right = (predicted == labels).double()
    filled = [places == place for place in places.unique().tolist()]
    return {
        "ece": ece.item(),
        "bins": [
            {
                "confidence": sure[part].double().mean().item(),
                "accuracy": right[part].mean().item(),
                "count": int(part.sum()),
            }
            for part in filled
        ],
    }


def confusion(outputs: Tensor, labels: Tensor) -> list[list[int]]:
    """How many samples of each class (row) are taken for each class (column)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    matrix: list[list[int]] = multiclass_confusion_matrix(
        outputs.argmax(1), labels, outputs.shape[1]
    ).tolist()
    return matrix


def gates_by_class(network: Network, split: Split) -> dict[str, dict[str, float]] | None:
    """Mean weight of every modality in the fusion, by the class of the samples.

    Weights of a fusion that has them for every modality, `(M, B)` or `(M, B, d)`, are averaged over the
    dimensions; those of attention between modalities, `(B, M, M)`, over the modalities that look. None for
    a fusion that has none, or others, and for a task that is no classification.
    """
    if network.task.kind != "classification":
        return None
    device = next(network.parameters()).device
    found, labels = [], []
    network.eval()
    with torch.inference_mode():
        for indices in torch.arange(len(split)).split(512):
            batch = split.batch(indices).to(device)
            _, gates = network(batch.inputs, batch.masks, batch.present, return_gates=True)
            weights = _weights_of_modalities(gates["weights"], len(network.encoders), len(indices))
            if weights is None:
                return None
            found.append(weights)
            labels.append(batch.labels)
    weights, classes = torch.cat(found, 1), torch.cat(labels)
    return {
        network.task.classes[index]: dict(
            zip(network.encoders, weights[:, classes == index].double().mean(1).tolist(), strict=True)
        )
        for index in classes.unique().tolist()
    }


def _weights_of_modalities(weights: Tensor | None, modalities: int, batch: int) -> Tensor | None:
    """One weight per modality and sample, `(M, B)`; None where a fusion's weights are of another kind."""
    if weights is None:
        return None
    if weights.shape[1:] == (modalities, modalities) and len(weights) == batch:
        there = weights.sum(2).count_nonzero(1).clamp(min=1)  # what is absent does not look
        return (weights.sum(1) / there[:, None]).T
    if weights.shape[:2] != (modalities, batch):
        return None
    return weights.flatten(2).mean(2) if weights.dim() > 2 else weights


def understand(network: Network, split: Split, score: Score, name: str, seed: int) -> dict[str, Any]:
    """All of this about one network, ready for JSON.

    Args:
        network: A trained network.
        split: The split.
        score: What is measured.
        name: Its name.
        seed: Seed of what is missing and of the noise.
    """
    subsets = subset_scores(network, split, score, empty=True)
    missing, noisy = (
        partial(curve, network, split, seed=seed, score=score) for curve in (missing_curve, noise_curve)
    )
    outputs, labels = predict(network, split)
    classifies = network.task.kind == "classification"
    return {
        "score": name,
        "contributions": shapley(subsets),
        "subsets": list(subsets.items()),
        "missing": {each: list(missing(modality=each).items()) for each in network.encoders},
        "noise": {each: list(noisy(modality=each).items()) for each in network.encoders},
        "gates": gates_by_class(network, split),
        "calibration": calibration(outputs, labels) if classifies else None,
        "confusion": confusion(outputs, labels) if classifies else None,
        "classes": list(network.task.classes),
    }


class _Lots:
    """Random numbers of a pass over a split, drawn on the CPU in its order."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def _with(network: Network, split: Split, chosen: Collection[str]) -> tuple[Tensor, Tensor]:
    return predict(network, split, change=lambda batch: keep_only(batch, network.modalities, chosen))


def _curve(
    network: Network,
    split: Split,
    steps: Sequence[float],
    changed: Callable[[Batch, float, _Lots], Batch],
    seed: int,
    score: Score,
) -> dict[float, float]:
    """The score by step, where `changed` says what a step makes of a batch; all steps draw the same lots."""

    def at(step: float) -> float:
        lots = _Lots(seed)
        return score(*predict(network, split, change=lambda batch: changed(batch, step, lots)))

    return {step: at(step) for step in steps}


def _noisy(values: Tensor, level: float, lots: _Lots) -> Tensor:
    if values.is_floating_point():
        return values + level * values.std(correction=0) * lots.normal(*values.shape).to(values)
    random = (lots.uniform(*values.shape) * int(values.max())).long().to(values.device) + 1
    replaced = (lots.uniform(*values.shape).to(values.device) < level) & (values != 0)
    return torch.where(replaced, random, values)
