"""`dominance`: stops a trial when even an optimistic guess of its end is dominated."""

import numpy as np

from nas.checks import check_not_negative, check_positive, check_whole
from nas.registry import register
from nas.results.records import History, Record
from nas.search.curves import expected_end
from nas.space import Float, Int


@register("pruner", "dominance")
class Dominance:
    """Stops what cannot reach the front any more.

    Size is exact before the first step; only what the training changes is uncertain. A linear
    regression over the complete trials predicts the end of a learning curve from its value now and
    from the exact objectives; the prediction, better by `margin` standard errors, is an optimistic
    end. The trial is stopped when a member of the front dominates even that.

    Args:
        margin: Standard errors of the prediction that a trial is given; larger stops fewer.
        startup: Complete trials before any is stopped.
        first: Epochs before a trial may be stopped.
    """

    domains = {"margin": Float(1.0, 4.0), "startup": Int(5, 20), "first": Int(1, 4)}

    def __init__(self, margin: float = 2.0, startup: int = 10, first: int = 1) -> None:
        check_not_negative("margin", margin)
        check_whole("startup", startup, 4)
        check_positive("first", first)
        self.margin = margin
        self.startup = startup
        self.first = first

    def stops(self, trial: Record, history: History) -> bool:
        """Whether a member of the front dominates the best end that is still credible."""
        epoch = len(trial.metrics)
        if epoch < self.first or len(history.candidates) < self.startup:
            return False
        end = expected_end(history, trial, self.startup)
        if end is None:
            return False
        best = end.losses - self.margin * end.errors
        front = np.array([history.losses(member.values) for member in history.front()])
        return bool(((front <= best).all(1) & (front < best).any(1)).any())
