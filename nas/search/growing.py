"""What is found for every item of a list that mostly grows."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F")


class Grown(Generic[T, F]):
    """Finds something for each item of a list; what was found for the list before is taken over.

    Args:
        find: From an item to what is found for it.
    """

    def __init__(self, find: Callable[[T], F]) -> None:
        self._find = find
        self._items: list[T] = []
        self._found: list[F] = []

    def __call__(self, items: Sequence[T]) -> list[F]:
        """What is found for the items, in their order."""
        before, self._items = self._items, list(items)
        if self._items[: len(before)] != before:  # quick where they are the same objects
            self._found = []
        self._found = self._found + [self._find(item) for item in self._items[len(self._found) :]]
        return self._found
