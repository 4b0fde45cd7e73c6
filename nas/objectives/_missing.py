"""What the objectives share that ask what is left when a modality is missing."""

import torch

from nas.datasets import Batch
from nas.objectives import Context
from nas.training import predict
from nas.training.missing import keep_only


def accuracies_without_each(context: Context) -> list[float]:
    """Accuracy on the evaluated split with each single modality of the dataset removed from all samples.

    A sample that has no other modality is left out; so is a modality that leaves no sample.

    Raises:
        ValueError: The network has not been trained, or the dataset has one modality.
    """
    if context.split is None or len(context.modalities) < 2:
        raise ValueError("accuracy with a modality missing needs a trained network of several modalities")
    found = (_accuracy_without(context, name) for name in context.modalities)
    return [accuracy for accuracy in found if accuracy is not None]


def _accuracy_without(context: Context, name: str) -> float | None:
    assert context.split is not None
    left: list[torch.Tensor] = []

    def change(batch: Batch) -> Batch:
        others = [other for other in context.modalities if other != name]
        batch = keep_only(batch, list(context.modalities), others)
        assert batch.present is not None
        left.append(batch.present.any(1))
        return batch

    outputs, labels = predict(context.network, context.split, change=change)
    kept = torch.cat(left)
    right = (outputs.argmax(1) == labels)[kept]
    return right.double().mean().item() if len(right) else None
