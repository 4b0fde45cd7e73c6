"""SmallWorldBench: a search space of which every network has been trained, and searches simulated on it."""

from nas.bench.simulation import Simulated, simulate
from nas.bench.table import SmallWorldBench, closed_space

__all__ = ["Simulated", "SmallWorldBench", "closed_space", "simulate"]
