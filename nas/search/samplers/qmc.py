"""`qmc`: points that fill the space evenly."""

import math
from collections.abc import Mapping

from nas.checks import check_whole
from nas.registry import register
from nas.results.records import History
from nas.space import Architecture, Choice, Domain, Float, SearchSpace
from nas.space.domains import Plain, Value, from_plain, plain_domains

LOOK_AHEAD = 64


@register("sampler", "qmc")
class QMC:
    """A scrambled Sobol sequence over all decisions of the space (Sobol 1967; Owen 1998).

    Decisions that an architecture does not take are passed over. The place in the sequence follows from
    the number of trials so far; points that a trial has been already are left out.

    Args:
        scramble: Seed of the scrambling.
    """

    def __init__(self, scramble: int = 0) -> None:
        check_whole("scramble", scramble, 0)
        self.scramble = scramble

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        """The point of the sequence that belongs to this trial."""
        from torch.quasirandom import SobolEngine

        paths = [plain for path, domain in space.domains() for plain in plain_domains(path, domain)]
        engine = SobolEngine(max(1, len(paths)), scramble=True, seed=self.scramble)
        engine.fast_forward(len(history.records))
        taken = {record.architecture for record in history.records}
        for row in engine.draw(LOOK_AHEAD):
            point = dict(zip(paths, row.tolist(), strict=False))
            architecture = space.draw(lambda path, domain, point=point: _chosen(path, domain, point))  # type: ignore[misc]
            if architecture not in taken:
                break
        return architecture


def _chosen(path: str, domain: Domain, point: Mapping[str, float]) -> Value:
    plain = {name: _at(part, point[name]) for name, part in plain_domains(path, domain).items()}
    return from_plain(path, domain, plain)


def _at(domain: Plain, share: float) -> Value:
    """The value below which a share of the domain lies, 0 <= share < 1."""
    if isinstance(domain, Choice):
        return domain.options[int(share * domain.size)]
    if isinstance(domain, Float):
        if domain.log:
            return min(domain.low * (domain.high / domain.low) ** share, domain.high)
        return domain.low + share * (domain.high - domain.low)
    if domain.log:
        low, high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)
        return min(max(round(math.exp(low + share * (high - low))), domain.low), domain.high)
    return domain.low + domain.step * int(share * domain.size)
