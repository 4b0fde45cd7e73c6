"""`grad_norm`: how large the first gradients of an untrained network are."""

from nas.objectives import Context
from nas.objectives._gradients import loss_gradients
from nas.registry import register


@register("objective", "grad_norm")
class GradNorm:
    """Sum of the Euclidean norms of the loss's gradients, a norm per tensor, on some training samples.

    Abdelfattah et al., Zero-cost proxies for lightweight NAS, ICLR 2021, section 3.
    """

    direction = "maximize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """The score, 0 or more."""
        return float(sum(slope.norm().item() for _, slope in loss_gradients(context)))
