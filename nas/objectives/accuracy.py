"""`accuracy`: share of the samples whose most likely class is the right one."""

from nas.objectives import Context
from nas.registry import register


@register("objective", "accuracy")
class Accuracy:
    """Share of the samples of the split whose largest output is that of their class, 0 to 1."""

    direction = "maximize"
    cheap = False
    logged = False
    tasks = ("classification",)

    def __call__(self, context: Context) -> float:
        """The accuracy of `context.outputs`; NaN where an output is not a number."""
        if context.outputs is None or context.labels is None:
            raise ValueError("accuracy needs a trained network's outputs")
        if context.outputs.isnan().any():
            return float("nan")
        return (context.outputs.argmax(1) == context.labels).double().mean().item()
