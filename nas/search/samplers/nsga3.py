"""`nsga3`: Optuna's genetic algorithm for many objectives."""

from optuna.samplers import NSGAIIISampler

from nas.checks import check_whole
from nas.registry import register
from nas.search.samplers._optuna import OptunaSampler


@register("sampler", "nsga3")
class NSGA3(OptunaSampler):
    """NSGA-III (Deb and Jain, IEEE Transactions on Evolutionary Computation 18, 2014).

    Args:
        population: Trials per generation.
        history: Most recent trials that it sees, beside the front of those before.
    """

    def __init__(self, population: int = 20, history: int = 200) -> None:
        check_whole("population", population, 2)
        super().__init__(lambda seed: NSGAIIISampler(seed=seed, population_size=population), history)
