"""Typed mutation and crossover of architectures, as changes of the decisions that lead to them."""

import numpy as np

from nas.search.samplers._surrogate import Decisions, position
from nas.space import Choice, Domain, Expression, Float, Int, SearchSpace
from nas.space.domains import Value

STEP = 0.2  # standard deviation of a number's step, as a share of its domain


def mutate(space: SearchSpace, parent: Decisions, rng: np.random.Generator) -> dict[str, Value]:
    """Change one decision of a parent, sometimes more; what hangs on it is kept where it still applies.

    A number moves to a neighbour; a component is replaced by another of its kind, whose settings are
    taken over from the old one's where it has one of the same name and the value is legal, and
    otherwise sampled.
    """
    if not parent:
        return {}
    count = min(len(parent), int(rng.geometric(0.6)))
    paths = list(parent)
    chosen = {paths[place] for place in rng.permutation(len(paths))[:count]}

    def choose(path: str, domain: Domain) -> Value:
        value = kept(path, domain, parent, rng)
        return neighbour(domain, value, rng) if path in chosen else value

    return space.decide(choose)


def cross(space: SearchSpace, one: Decisions, other: Decisions, rng: np.random.Generator) -> dict[str, Value]:
    """Put together two parents: every slot with all that hangs on it is the one's or the other's.

    An expression in a slot that both have is one parent's with a part of the other's in it.
    """
    owner: dict[str, Decisions] = {}

    def choose(path: str, domain: Domain) -> Value:
        slot = ".".join(path.split(".")[: 2 if path.startswith(("encoders.", "training.")) else 1])
        parent = owner.setdefault(slot, (one, other)[int(rng.integers(2))])
        value = kept(path, domain, parent, rng)
        partner = (other if parent is one else one).get(path)
        if isinstance(domain, Expression) and path in parent and domain.contains(partner):
            return domain.cross(value, partner, rng)
        return value

    return space.decide(choose)


def neighbour(domain: Domain, value: Value, rng: np.random.Generator) -> Value:
    """Another value of a domain: near the old one where values have an order, any other where not.

    Of an expression one part is changed: an operator, or the place of an operand with all that hangs
    on it.
    """
    if domain.size == 1:
        return value
    if isinstance(domain, Expression):
        parts = {name: part for name, part in domain.parts.items() if part.size > 1}
        name, old = list(parts)[int(rng.integers(len(parts)))], domain.split(value)
        return domain.join(old | {name: neighbour(parts[name], old[name], rng)})
    if isinstance(domain, Choice):
        others = [option for option in domain.options if option != domain.option(value)]
        return others[int(rng.integers(len(others)))]
    place = position(domain, value)
    for _ in range(8):
        moved = _at(domain, min(max(place + STEP * rng.normal(), 0.0), 1.0))
        if moved != value:
            return moved
    while (sampled := domain.sample(rng)) == value:
        pass
    return sampled


def kept(path: str, domain: Domain, decisions: Decisions, rng: np.random.Generator) -> Value:
    """The parent's value for a decision, or that of the same setting of another component in its place.

    An expression loses the operands that are not there any more.
    """
    if path in decisions and domain.contains(decisions[path]):
        return decisions[path]
    if (
        path in decisions
        and isinstance(domain, Expression)
        and domain.contains(cut := domain.cut(decisions[path]))
    ):
        return cut
    parts = path.split(".")
    for other, value in decisions.items():
        if other.endswith(parts[-1]) and _same_setting(parts, other.split(".")) and domain.contains(value):
            return value
    return domain.sample(rng)


def _same_setting(path: list[str], other: list[str]) -> bool:
    """Whether two paths differ in the name of one component alone."""
    differing = [index for index, (a, b) in enumerate(zip(path, other, strict=False)) if a != b]
    return len(path) == len(other) and len(differing) == 1 and differing[0] < len(path) - 1


def _at(domain: Domain, place: float) -> Value:
    """The value of a numeric domain nearest to a place between 0 and 1."""
    assert isinstance(domain, Int | Float)
    low, high = float(domain.low), float(domain.high)
    value = (
        float(np.exp(np.log(low) + place * (np.log(high) - np.log(low))))
        if domain.log
        else low + place * (high - low)
    )
    if isinstance(domain, Float):
        return min(max(value, low), high)
    return min(domain.low + domain.step * round((value - low) / domain.step), domain.high)
