"""`mean_missing_accuracy`: accuracy when one modality is missing, whichever it is."""

from nas.objectives import Context
from nas.objectives._missing import accuracies_without_each
from nas.registry import register


@register("objective", "mean_missing_accuracy")
class MeanMissingAccuracy:
    """Mean accuracy on the split with one modality removed from all samples, over the modalities.

    The accuracies are those of `worst_missing_accuracy`.
    """

    direction = "maximize"
    cheap = False
    logged = False
    tasks = ("classification",)
    least_modalities = 2

    def __call__(self, context: Context) -> float:
        """The mean, 0 to 1."""
        found = accuracies_without_each(context)
        return sum(found) / len(found) if found else float("nan")
