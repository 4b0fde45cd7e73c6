"""`none`: every trial runs to its end."""

from nas.registry import register
from nas.results.records import History, Record


@register("pruner", "none")
class NoPruner:
    """Never stops a trial."""

    def stops(self, trial: Record, history: History) -> bool:
        """False."""
        return False
