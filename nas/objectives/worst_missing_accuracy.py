"""`worst_missing_accuracy`: accuracy when the modality is missing that is missed most."""

from nas.objectives import Context
from nas.objectives._missing import accuracies_without_each
from nas.registry import register


@register("objective", "worst_missing_accuracy")
class WorstMissingAccuracy:
    """Lowest accuracy on the split with one modality removed from all samples, over the modalities.

    Each modality of the dataset is removed alone, so there are as many accuracies as modalities; a sample
    that has no other one is left out. A network of one modality guesses without it.
    """

    direction = "maximize"
    cheap = False
    logged = False
    tasks = ("classification",)
    least_modalities = 2

    def __call__(self, context: Context) -> float:
        """The lowest, 0 to 1."""
        return min(accuracies_without_each(context), default=float("nan"))
