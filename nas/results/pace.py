"""Pace: how often something is done that takes the longer, the further a search has come."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20  # it takes at most one part in so many of the time


class Pace:
    """Says when something is due: at once, then after a while, and a longer one where it took long.

    Args:
        seconds: The least time from one to the next.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it was done long enough ago."""
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Do it."""
        started = time.monotonic()
        yield
        now = time.monotonic()
        self._next = now + max(self.seconds, PATIENCE * (now - started))
