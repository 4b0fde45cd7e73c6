"""`rungs`: asynchronous successive halving on non-dominated ranks."""

import math

import numpy as np

from nas.checks import check_positive, check_whole
from nas.registry import register
from nas.results.dominance import crowding, ranks
from nas.results.records import PRUNED, History, Record
from nas.search.curves import losses_at
from nas.space import Int


@register("pruner", "rungs")
class Rungs:
    """Asynchronous successive halving (Li et al., MLSys 2020), with dominance for the order.

    After `first`, `first · eta`, `first · eta²` … epochs a trial goes on if it is among the best
    1/eta of all that have come to this rung, the better first by non-dominated rank and within a
    rank by crowding distance (Deb et al. 2002). One that no other dominates at its rung always goes
    on: what it may become a front of is not known yet.

    Args:
        first: Epochs before the first rung.
        eta: One in so many goes on from a rung.
    """

    domains = {"first": Int(1, 4), "eta": Int(2, 4)}

    def __init__(self, first: int = 1, eta: int = 2) -> None:
        check_positive("first", first)
        check_whole("eta", eta, 2)
        self.first = first
        self.eta = eta

    def stops(self, trial: Record, history: History) -> bool:
        """Whether the trial is not among those that go on from the rung that it has come to."""
        epoch = len(trial.metrics)
        own = losses_at(history, trial, epoch)
        if own is None or not self._is_rung(epoch):
            return False
        others = _others(history, trial, epoch)
        points = np.array([own, *others])
        rank = ranks(points)
        if rank[0] == 0 and np.isfinite(points[0]).all():
            return False
        better = int((rank < rank[0]).sum())
        same = points[rank == rank[0]]
        distance = crowding(same)
        better += int((distance > distance[0]).sum())
        return better >= math.ceil(len(points) / self.eta)

    def _is_rung(self, epoch: int) -> bool:
        while epoch > self.first and epoch % self.eta == 0:
            epoch //= self.eta
        return epoch == self.first


def _others(history: History, trial: Record, epoch: int) -> list[tuple[float, ...]]:
    """Losses of all other trials that have come as far, stopped ones included, failed ones not."""
    at = (
        losses_at(history, record, epoch)
        for record in history.records
        if record.number != trial.number and (record.failure is None or record.state == PRUNED)
    )
    return [losses for losses in at if losses is not None]
