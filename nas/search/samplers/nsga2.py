"""`nsga2`: Optuna's non-dominated sorting genetic algorithm."""

from optuna.samplers import NSGAIISampler

from nas.checks import check_whole
from nas.registry import register
from nas.search.samplers._optuna import OptunaSampler


@register("sampler", "nsga2")
class NSGA2(OptunaSampler):
    """NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6, 2002).

    Args:
        population: Trials per generation.
        history: Most recent trials that it sees, beside the front of those before.
    """

    def __init__(self, population: int = 20, history: int = 200) -> None:
        check_whole("population", population, 2)
        super().__init__(lambda seed: NSGAIISampler(seed=seed, population_size=population), history)
