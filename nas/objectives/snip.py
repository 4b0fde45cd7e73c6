"""`snip`: how much the loss of an untrained network depends on its single weights."""

from nas.objectives import Context
from nas.objectives._gradients import loss_gradients
from nas.registry import register


@register("objective", "snip")
class Snip:
    """Sum over the weights of |weight · gradient of the loss|, on some training samples.

    Lee, Ajanthan and Torr, SNIP: Single-shot network pruning, ICLR 2019, equation 5; summed over the
    network by Abdelfattah et al., Zero-cost proxies for lightweight NAS, ICLR 2021, equation 1.
    """

    direction = "maximize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """The score, 0 or more."""
        return float(sum((weight * slope).abs().sum().item() for weight, slope in loss_gradients(context)))
