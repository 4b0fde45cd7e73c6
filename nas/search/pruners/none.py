"""`none`: every trial runs to its end."""

from collections.abc import Sequence
from typing import Any

from nas.registry import register
from nas.results.records import History


@register("pruner", "none")
class NoPruner:
    """Never stops a trial."""

    def stops(self, trial: Sequence[dict[str, Any]], history: History) -> bool:
        """False."""
        return False
