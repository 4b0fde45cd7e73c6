"""Which trials train together: those of one shape, at most so many at a time."""

from collections.abc import Callable, Hashable

from nas.space import Architecture, SearchSpace


class Groups:
    """The rule by which trials are put together.

    Args:
        size: Most trials of a group; with 1 every trial is alone.
        fills: Whether the study asks for trials alike, so that groups fill. If not, only the replicates
            that it asks for anyway are a group.
        suits: Whether networks of an architecture train together where they can; asked once per shape.
    """

    def __init__(
        self,
        size: int = 1,
        fills: bool = False,
        suits: Callable[[Architecture], bool] = lambda architecture: True,
    ) -> None:
        self.size = size
        self.fills = fills
        self._suits = suits
        self._known: dict[Hashable, bool] = {}

    def suit(self, space: SearchSpace, architecture: Architecture) -> bool:
        """Whether other trials may join one of this architecture."""
        if self.size == 1:
            return False
        key = shape_class(space, architecture)
        if key not in self._known:
            self._known[key] = self._suits(architecture)
        return self._known[key]


def shape_class(space: SearchSpace, architecture: Architecture) -> Hashable:
    """What architectures share that differ in fusible values alone.

    An architecture outside the space, which has changed since, is a class of its own.
    """
    try:
        decisions = space.decisions(architecture)
    except ValueError:
        return architecture
    return tuple((path, value) for path, (domain, value) in decisions.items() if not domain.fusible)
