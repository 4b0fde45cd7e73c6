"""The search space: a tree of domains and component choices.

For algorithms a space is a flat dictionary of `path: domain`, conditional on the choices made; for
building it is the tree again. `SearchSpace.draw` is the only traversal that proposes.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from nas.space import _trees
from nas.space.architecture import Architecture
from nas.space.domains import Choice, Domain, Expression, Float, Value
from nas.space.presence import Presence, used


@dataclass(frozen=True)
class Fixed:
    """A value that the experiment pins."""

    value: Any


@dataclass(frozen=True)
class Group:
    """Named parts that are all there: the slots of a network, the hyper-parameters of a component.

    Args:
        children: The parts.
        over_modalities: Names of those whose values name modalities, by their number in the dataset: a
            network that uses fewer has them over those alone.
        of_several: Names of those that a network of one modality out of several does not have.
    """

    children: Mapping[str, "Node"]
    over_modalities: frozenset[str] = frozenset()
    of_several: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Select:
    """One component out of several of one kind, each with its own hyper-parameters."""

    kind: str
    options: Mapping[str, Group]

    @cached_property
    def domain(self) -> Choice:
        """The names to choose from."""
        return Choice(*self.options)


Node: TypeAlias = Fixed | Domain | Group | Select
Choose: TypeAlias = Callable[[str, Domain], Value]
Plan: TypeAlias = "list[tuple[str, Domain, dict[str, Plan]]]"


@dataclass(frozen=True)
class SearchSpace:
    """A tree of domains and component choices; its points are architectures.

    Args:
        root: The slots of the network. `nas.space.assemble.assemble` reads it from a file's data.
        presence: Which of the dataset's modalities, the parts of the slot `encoders`, a network may use.
            Of one that is left out there is no encoder; with one alone nothing is fused. None: all of
            them, always.
    """

    root: Group
    presence: Presence | None = None

    def draw(self, choose: Choose) -> Architecture:
        """The architecture that results from choosing a value for every domain met on the way.

        Args:
            choose: Called with the path of a decision and its domain, in a fixed order; only the
                decisions that the earlier ones leave open are asked for.
        """
        root = self.root if self.presence is None else self._restricted(self.presence.choose(choose))
        return Architecture(_draw(root, "", choose))

    def decide(self, choose: Choose) -> dict[str, Value]:
        """The decisions that `draw` would make, path to value, without what they lead to."""
        made: dict[str, Value] = {}
        chosen: tuple[str, ...] = ()
        if self.presence is not None:

            def note(path: str, domain: Domain) -> Value:
                made[path] = choose(path, domain)
                return made[path]

            chosen = self.presence.choose(note)
        if chosen not in self._plans:
            self._plans[chosen] = _plan(self._restricted(chosen) if chosen else self.root, "")
        _decide(self._plans[chosen], choose, made)
        return made

    @cached_property
    def _plans(self) -> dict[tuple[str, ...], Plan]:
        """The decisions by the modalities that a network uses; none are named where it uses all, always."""
        return {}

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: every domain sampled, every component equally likely."""
        return self.draw(lambda path, domain: domain.sample(rng))

    def decisions(self, architecture: Architecture) -> dict[str, tuple[Domain, Value]]:
        """The decisions that lead to `architecture`: path to domain and value, in drawing order.

        Raises:
            ValueError: The architecture is not a point of this space; the message names the path.
        """
        found: dict[str, tuple[Domain, Value]] = {}
        root = self.root
        if self.presence is not None:
            chosen = used(architecture, self.presence.modalities)
            found |= self.presence.decisions(chosen)
            root = self._restricted(chosen)
        _follow(root, architecture, "", found)
        return found

    def __contains__(self, architecture: Architecture) -> bool:
        try:
            self.decisions(architecture)
        except ValueError:
            return False
        return True

    @property
    def size(self) -> float:
        """Number of architectures; infinite where a real number is searched."""
        return sum(_size(root) for root in self._roots())

    def points(self) -> Iterator[Architecture]:
        """Every architecture of a finite space, in a fixed order.

        Raises:
            ValueError: A real number is searched, so that there is no end of them.
        """
        if self.size == math.inf:
            raise ValueError("a space in which a real number is searched has no list of its points")
        return (Architecture(tree) for root in self._roots() for tree in _points(root))

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Every decision of the space with its path, conditional ones included."""
        searched = () if self.presence is None else self.presence.domains()
        return itertools.chain(searched, _domains(self.root, ""))

    def to_data(self) -> dict[str, Any]:
        """The space as it would stand in a file, with every default written out."""
        present = {} if self.presence is None else {"present": self.presence.to_data()}
        return present | _to_data(self.root)

    def _roots(self) -> Iterator[Group]:
        """The slots for every set of modalities that a network may use."""
        if self.presence is None:
            yield self.root
        else:
            yield from map(self._restricted, self.presence.subsets())

    def _restricted(self, chosen: Sequence[str]) -> Group:
        """The slots of networks that use these modalities alone."""
        assert self.presence is not None
        modalities = self.presence.modalities
        if len(chosen) == len(modalities):
            return self.root
        encoders = self.root.children["encoders"]
        assert isinstance(encoders, Group)
        own = Group({name: encoders.children[name] for name in chosen if name in encoders.children})
        root = replace(self.root, children=dict(self.root.children) | {"encoders": own})
        numbers = [number for number, name in enumerate(modalities) if name in chosen]
        root = _alone(root) if len(chosen) == 1 else _group_among(root, numbers)
        present = {"present": Fixed({name: name in chosen for name in modalities})}
        return Group(present | dict(root.children))


def _alone(group: Group) -> Group:
    """The parts of a network of one modality; no group is left without any."""
    parts = {
        name: _alone(child) if isinstance(child, Group) else child
        for name, child in group.children.items()
        if name not in group.of_several
    }
    left = {name: part for name, part in parts.items() if part != Group({})}
    return replace(group, children=left)


def _among(node: Node, numbers: Sequence[int]) -> Node:
    """A slot of a network that uses the modalities of these numbers alone."""
    match node:
        case Group():
            return _group_among(node, numbers)
        case Select(kind, options):
            return Select(kind, {name: _group_among(option, numbers) for name, option in options.items()})
        case _:
            return node


def _group_among(group: Group, numbers: Sequence[int]) -> Group:
    parts = {
        name: _cut(child, numbers) if name in group.over_modalities else _among(child, numbers)
        for name, child in group.children.items()
    }
    return replace(group, children=parts)


def _cut(node: Node, numbers: Sequence[int]) -> Node:
    """What names modalities, without those of other numbers."""
    match node:
        case Fixed(value) if value is not None:
            return Fixed(_trees.among(value, numbers))
        case Choice(options):
            return Choice(*(option for option in options if option in numbers))
        case Expression():
            return node.among(numbers)
        case _:
            return node


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _draw(node: Node, path: str, choose: Choose) -> Any:
    match node:
        case Fixed(value):
            return value
        case Group(children):
            return {name: _draw(child, _join(path, name), choose) for name, child in children.items()}
        case Select(_, options):
            name = next(iter(options)) if len(options) == 1 else str(choose(path, node.domain))
            return {name: _draw(options[name], _join(path, name), choose)}
        case _:
            return choose(path, node)


def _plan(node: Node, path: str) -> Plan:
    """The decisions below a node, in drawing order; with a choice those that hang on each option."""
    match node:
        case Fixed():
            return []
        case Group(children):
            return [step for name, child in children.items() for step in _plan(child, _join(path, name))]
        case Select(_, options):
            plans = {name: _plan(option, _join(path, name)) for name, option in options.items()}
            return [(path, node.domain, plans)] if len(options) > 1 else next(iter(plans.values()))
        case _:
            return [(path, node, {})]


def _decide(plan: Plan, choose: Choose, made: dict[str, Value]) -> None:
    for path, domain, plans in plan:
        made[path] = value = choose(path, domain)
        if plans:
            _decide(plans[str(value)], choose, made)


def _follow(node: Node, value: Any, path: str, found: dict[str, tuple[Domain, Value]]) -> None:
    match node:
        case Fixed(fixed):
            if value is not fixed and Architecture({"value": fixed}) != Architecture({"value": value}):
                raise ValueError(f"{path}: {value!r} is not the pinned value {fixed!r}")
        case Group(children):
            _require_keys(value, children, path)
            for name, child in children.items():
                _follow(child, value[name], _join(path, name), found)
        case Select(_, options):
            name = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else ""
            if name not in options:
                raise ValueError(f"{path}: {name or value!r} is none of {', '.join(options)}")
            if len(options) > 1:
                found[path] = (node.domain, name)
            _follow(options[name], value[name], _join(path, name), found)
        case _:
            if not node.contains(value):
                raise ValueError(f"{path}: {value!r} is not within {node}")
            found[path] = (node, _as_drawn(node, value))


def _as_drawn(domain: Domain, value: Any) -> Value:
    """A value as the domain gives it; an architecture writes the number 1.0 as 1."""
    match domain:
        case Float():
            return float(value)
        case Choice():
            return domain.option(value)
        case Expression():
            return domain.canonical(value)
        case _:
            return value


def _require_keys(value: Any, children: Mapping[str, Node], path: str) -> None:
    given = set(value) if isinstance(value, Mapping) else set()
    if given != set(children):
        differing = ", ".join(sorted(given ^ set(children)))
        raise ValueError(f"{path or 'architecture'}: {differing} missing here or there")


def _size(node: Node) -> float:
    match node:
        case Fixed():
            return 1
        case Group(children):
            return math.prod(_size(child) for child in children.values())
        case Select(_, options):
            return sum(_size(option) for option in options.values())
        case _:
            return node.size


def _points(node: Node) -> Iterator[Any]:
    match node:
        case Fixed(value):
            yield value
        case Group(children):
            for values in itertools.product(*(list(_points(child)) for child in children.values())):
                yield dict(zip(children, values, strict=True))
        case Select(_, options):
            for name, option in options.items():
                yield from ({name: settings} for settings in _points(option))
        case Float(low):
            yield low
        case _:
            yield from node


def _domains(node: Node, path: str) -> Iterator[tuple[str, Domain]]:
    match node:
        case Fixed():
            return
        case Group(children):
            for name, child in children.items():
                yield from _domains(child, _join(path, name))
        case Select(_, options):
            if len(options) > 1:
                yield path, node.domain
            for name, option in options.items():
                yield from _domains(option, _join(path, name))
        case _:
            yield path, node


def _to_data(node: Node) -> Any:
    match node:
        case Fixed(value):
            return value
        case Group(children):
            return {name: _to_data(child) for name, child in children.items()}
        case Select(_, options):
            named = {name: _to_data(option) for name, option in options.items()}
            return named if len(named) == 1 else {"choice": named}
        case _:
            return node.to_data()
