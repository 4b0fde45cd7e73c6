"""SmallWorldBench: a space of which every network has been trained; `nas.search.simulation` searches it."""

from nas.bench.table import SmallWorldBench, closed_space

__all__ = ["SmallWorldBench", "closed_space"]
