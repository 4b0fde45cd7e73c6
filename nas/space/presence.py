"""Which of a dataset's modalities a network uses."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

from nas.space.domains import Choice, Value

ALL, SOME = "all", "some"
WHOLE = Choice(ALL, SOME)
EITHER = Choice(True, False)

Choose: TypeAlias = Callable[[str, Choice], Value]


def used(architecture: Mapping[str, Any], modalities: Iterable[str]) -> list[str]:
    """The modalities that a network uses, in their order: all that its slot `present` does not switch off.

    Args:
        architecture: Architecture of the network.
        modalities: Those of the dataset.
    """
    present = architecture.get("present", {})
    return [name for name in modalities if present.get(name, True)]


@dataclass(frozen=True)
class Presence:
    """The sets of modalities that the networks of a space may use; never none.

    The first decision, `present`, is between `all` and `some` of them, so that a random network is as
    likely to use all as not. In the second case there is one per modality that may be left out,
    `present.<modality>`, as far as it is open whether that leaves none, or all.

    Args:
        modalities: By name, in the dataset's order: whether it is there (`(True,)`), is not (`(False,)`), or
            either (`(True, False)`).
    """

    modalities: Mapping[str, tuple[bool, ...]]

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """The modalities that may be there."""
        return tuple(name for name, options in self.modalities.items() if True in options)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The modalities that have to be there."""
        return tuple(name for name, options in self.modalities.items() if options == (True,))

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The modalities that may be there or not."""
        return tuple(name for name in self.candidates if name not in self.required)

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """Every set that is allowed, that of all candidates first."""
        options = (self.modalities[name] for name in self.candidates)
        for flags in product(*options):
            chosen = tuple(name for name, there in zip(self.candidates, flags, strict=True) if there)
            if chosen:
                yield chosen

    def choose(self, choose: Choose) -> tuple[str, ...]:
        """The set that results from choosing a value for every decision that is open."""
        if not self._open or choose("present", WHOLE) == ALL:
            return self.candidates
        chosen = dict.fromkeys(self.required, True)
        for index, name in enumerate(self.free):
            forced = self._forced(chosen) if index == len(self.free) - 1 else None
            chosen[name] = bool(choose(f"present.{name}", EITHER)) if forced is None else forced
        return tuple(name for name in self.candidates if chosen[name])

    def decisions(self, chosen: Sequence[str]) -> dict[str, tuple[Choice, Value]]:
        """The decisions that lead to a set: path to domain and value, in their order.

        Raises:
            ValueError: The set is not allowed.
        """
        found: dict[str, tuple[Choice, Value]] = {}

        def answer(path: str, domain: Choice) -> Value:
            whole = ALL if tuple(chosen) == self.candidates else SOME
            value = whole if domain == WHOLE else path.removeprefix("present.") in chosen
            found[path] = (domain, value)
            return value

        if self.choose(answer) != tuple(chosen):
            raise ValueError(f"present: {', '.join(chosen) or 'nothing'} is not a set of modalities here")
        return found

    def domains(self) -> Iterator[tuple[str, Choice]]:
        """Every decision with its path."""
        if self._open:
            yield "present", WHOLE
            yield from ((f"present.{name}", EITHER) for name in self.free if self._asked(name))

    def to_data(self) -> Any:
        """As it stands in a file: `all`, or by modality true, false, or a choice between them."""
        if self.required == tuple(self.modalities):
            return ALL
        return {
            name: options[0] if len(options) == 1 else EITHER.to_data()
            for name, options in self.modalities.items()
        }

    def __str__(self) -> str:
        either = f"any of {', '.join(self.free)}" if self.free else ""
        return ", ".join([*self.required, *([either] if either else [])])

    @cached_property
    def _open(self) -> bool:
        """Whether there is more than one set."""
        return len(self.free) > 0 and len(self.candidates) > 1

    def _asked(self, name: str) -> bool:
        """Whether the decision of one modality is ever open: not if it is the only one that is free."""
        return len(self.free) > 1 and (name != self.free[-1] or len(self.candidates) > 2)

    def _forced(self, chosen: Mapping[str, bool]) -> bool | None:
        """What the last free modality has to be: in if no other is, out if all others are."""
        if not any(chosen.values()):
            return True
        return False if all(chosen.values()) else None
