"""A dataset and an objective written as a stranger would: neither modality alone says the class."""

import torch

import nas
from nas.datasets import TensorSplit
from nas.objectives import Context


@nas.register("dataset", "exclusive_or")
class ExclusiveOr:
    """A bright half in an image and a word in a text; the class is whether one of them is "the other".

    Either alone is worth nothing, as each class has both; together they say it all.

    Args:
        samples: Samples of the training split; the others have a quarter of it.
        noise: Standard deviation of the image's noise; the two halves differ by 2.
        seed: Seed of the samples.
    """

    def __init__(self, samples: int = 800, noise: float = 0.5, seed: int = 0) -> None:
        self.task = nas.Task("classification", ("same", "different"))
        self.modalities = {
            "image": nas.ModalitySpec("image", (1, 8, 8)),
            "text": nas.ModalitySpec("text", (6,), vocabulary=12),
        }
        rng = torch.Generator().manual_seed(seed)
        sizes = {"train": samples, "validation": samples // 4, "test": samples // 4}
        self.splits = {name: _draw(size, noise, rng) for name, size in sizes.items()}


def _draw(samples: int, noise: float, rng: torch.Generator) -> TensorSplit:
    below, second = torch.randint(2, (2, samples), generator=rng)
    image = noise * torch.randn(samples, 1, 8, 8, generator=rng)
    image[:, :, :4] += (1 - 2.0 * below)[:, None, None, None]
    image[:, :, 4:] -= (1 - 2.0 * below)[:, None, None, None]
    text = torch.randint(3, 12, (samples, 6), generator=rng)  # words without a meaning
    place = torch.randint(6, (samples,), generator=rng)
    text[torch.arange(samples), place] = 1 + second
    return TensorSplit({"image": image, "text": text}, below ^ second, {"text": text != 0})


@nas.register("objective", "worst_class_recall")
class WorstClassRecall:
    """Share of the samples of a class that are recognised, of the class that fares worst, 0 to 1."""

    direction = "maximize"
    cheap = False

    def __call__(self, context: Context) -> float:
        """The smallest recall of `context.outputs`, `(N, classes)`."""
        assert context.outputs is not None
        assert context.labels is not None
        right = (context.outputs.argmax(1) == context.labels).double()
        return min(right[context.labels == label].mean().item() for label in context.labels.unique())
