"""Domains: the legal values of one hyper-parameter.

A domain is the one source for sampling, mutation, validation and documentation of a value.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np

from nas.space import _trees

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | tuple[Any, ...]


@dataclass(frozen=True)
class Int:
    """Whole numbers `low, low + step, … <= high`.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Sample uniformly in the logarithm (needs `low >= 1` and `step == 1`).
        step: Distance of neighbouring values.
        fusible: Whether networks that differ in this value alone have parameters and buffers of the same
            sizes and compute the same but for what is in them and in dropout; such train together.

    Raises:
        ValueError: The domain is empty, inverted, or logarithmic where it cannot be.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    fusible: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            if not _is_int(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number, not {getattr(self, name)!r}")
            object.__setattr__(self, name, int(getattr(self, name)))
        _check_bounds(self.low, self.high, self.log, 1)
        if self.step < 1:
            raise ValueError(f"step must be at least 1, not {self.step}")
        if self.log and self.step != 1:
            raise ValueError(f"a logarithmic domain has step 1, not {self.step}")
        object.__setattr__(self, "high", self.low + (self.high - self.low) // self.step * self.step)

    @property
    def size(self) -> int:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    def sample(self, rng: np.random.Generator) -> int:
        """A random value of the domain."""
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(drawn), self.low), self.high)
        return self.low + self.step * int(rng.integers(self.size))

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain, of the right type."""
        return (
            _is_int(value)
            and self.low <= value <= self.high  # type: ignore[operator]
            and (value - self.low) % self.step == 0  # type: ignore[operator]
        )

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.low, self.high + 1, self.step))

    def to_data(self) -> dict[str, Any]:
        """The domain as it stands in a file."""
        return {"int": [self.low, self.high]} | _unless_default(self, log=False, step=1, fusible=False)

    def __str__(self) -> str:
        extras = " log" * self.log + f" step {self.step}" * (self.step != 1)
        return f"{self.low}…{self.high}{extras}"


@dataclass(frozen=True)
class Float:
    """Real numbers of the closed interval `[low, high]`.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Sample uniformly in the logarithm (needs `low > 0`).
        fusible: As of `Int`.

    Raises:
        ValueError: The domain is empty, inverted, not finite, or logarithmic where it cannot be.
    """

    low: float
    high: float
    log: bool = False
    fusible: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if not _is_number(value) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, not {value!r}")
            object.__setattr__(self, name, float(value))
        _check_bounds(self.low, self.high, self.log, 0)

    @property
    def size(self) -> float:
        """Number of values."""
        return 1 if self.low == self.high else math.inf

    def sample(self, rng: np.random.Generator) -> float:
        """A random value of the domain."""
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(drawn, self.low), self.high)
        return float(rng.uniform(self.low, self.high))

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain, of the right type."""
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def to_data(self) -> dict[str, Any]:
        """The domain as it stands in a file."""
        return {"float": [self.low, self.high]} | _unless_default(self, log=False, fusible=False)

    def __str__(self) -> str:
        return f"{self.low:g}…{self.high:g}{' log' * self.log}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of several plain values, without an order.

    Args:
        options: The values, each once: `Choice("relu", "gelu")` or `Choice(["relu", "gelu"])`.
        fusible: As of `Int`.

    Raises:
        ValueError: There is no option, one is given twice (`1` and `1.0` are the same), or one is
            not a plain value.
    """

    options: tuple[Scalar, ...]
    fusible: bool = False

    def __init__(self, *options: Scalar | Iterable[Scalar], fusible: bool = False) -> None:
        first = options[0] if len(options) == 1 else None
        given = tuple(first) if isinstance(first, list | tuple) else options
        values = tuple(value.item() if isinstance(value, np.generic) else value for value in given)
        if not values:
            raise ValueError("a choice needs at least one option")
        for value in values:
            if value is not None and not isinstance(value, bool | int | float | str):
                raise ValueError(f"{value!r} is not a plain value (text, number, true, false or null)")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
        if len({(isinstance(value, bool), value) for value in values}) < len(values):
            raise ValueError(f"an option is given twice: {list(values)}")
        object.__setattr__(self, "options", values)
        object.__setattr__(self, "fusible", fusible)

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.options)

    def sample(self, rng: np.random.Generator) -> Scalar:
        """A random value of the domain."""
        return self.options[int(rng.integers(len(self.options)))]

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain, of the right type."""
        return any(_same(value, option) for option in self.options)

    def option(self, value: object) -> Scalar:
        """The option that equals `value`, as it was given: 1.0, where an architecture writes 1."""
        return next(option for option in self.options if _same(value, option))

    def __iter__(self) -> Iterator[Scalar]:
        return iter(self.options)

    def to_data(self) -> dict[str, Any]:
        """The domain as it stands in a file."""
        return {"choice": list(self.options)} | _unless_default(self, fusible=False)

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.options)) + "}"


@dataclass(frozen=True)
class Component:
    """A hyper-parameter that is a component itself, such as the topology of a connector.

    Args:
        kind: Kind of the component.
        requires: Class attributes that a component must have to fit, by name.
        instead_of: Hyper-parameters whose place the component takes. They are not searched where a space
            gives the component, and the component is not searched where a space leaves it out.
    """

    kind: str
    requires: Mapping[str, Any] = field(default_factory=dict)
    instead_of: tuple[str, ...] = ()

    def fits(self, component: type) -> bool:
        """Whether a component has what is required."""
        return all(getattr(component, name, None) == value for name, value in self.requires.items())

    def __str__(self) -> str:
        requires = "".join(f", {key}={value}" for key, value in self.requires.items())
        instead = f", instead of {' and '.join(self.instead_of)}" if self.instead_of else ""
        return f"any {self.kind}{requires}{instead}"


@dataclass(frozen=True)
class Expression:
    """Expressions of operands, each used once, and symmetric operators of two: binary trees.

    A value is the number of an operand or `(operator, left, right)`, such as `("add", 0, ("mul", 1, 2))`;
    in a file and in an architecture these are lists. Expressions that differ in the order of two sides
    alone are the same: the one with the smaller operand on the left stands for all.

    Args:
        operators: Names of the operators.
        operands: The operands' numbers, ascending, or how many there are from 0 on; None in the class of a
            component means the modalities.

    Raises:
        ValueError: There is no operator, one is given twice or is no text, or there is no operand.
    """

    operators: tuple[str, ...]
    operands: int | tuple[int, ...] | None = None
    fusible: ClassVar[bool] = False

    def __post_init__(self) -> None:
        names = tuple(self.operators)
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"operators must be names, each once and at least one, not {list(names)!r}")
        object.__setattr__(self, "operators", names)
        object.__setattr__(self, "operands", _operands(self.operands))

    def for_modalities(self, numbers: Sequence[int]) -> "Expression":
        """The domain over the modalities of these numbers, where it says nothing else."""
        return Expression(self.operators, tuple(numbers)) if self.operands is None else self

    def renumbered(self, value: Any, numbers: Sequence[int]) -> Value:
        """A value over the modalities of these numbers, with 0, 1, … in their place."""
        return cast(Value, _trees.relabelled(value, {old: new for new, old in enumerate(numbers)}))

    def among(self, numbers: Iterable[int]) -> "Expression":
        """The domain over those of its operands that have these numbers."""
        return Expression(self.operators, tuple(sorted(set(self.numbers) & set(numbers))))

    def cut(self, value: Any) -> Value:
        """A value over more operands without those that are not of this domain; None where none is."""
        return cast(Value, _trees.among(value, self.numbers))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The operands."""
        if self.operands is None:
            raise ValueError("the number of operands is open; give `operands`, or see `for_modalities`")
        return self.operands if isinstance(self.operands, tuple) else tuple(range(self.operands))

    @property
    def size(self) -> int:
        """Number of values: (2n − 3)!! trees of n operands, each with an operator at n − 1 nodes."""
        return math.prod(part.size for part in self.parts.values())

    def sample(self, rng: np.random.Generator) -> Value:
        """A random value of the domain, each equally likely."""
        return self.join({name: part.sample(rng) for name, part in self.parts.items()})

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain, with its sides in any order."""
        return _trees.is_tree(value, self.operators) and sorted(_trees.leaves(value)) == list(self.numbers)

    def canonical(self, value: Any) -> Value:
        """The value that stands for all that differ from this one in the order of sides."""
        tree: Value = _trees.canonical(value)
        return tree

    @property
    def parts(self) -> dict[str, Choice]:
        """Plain domains that together stand for this one: every combination is a value, and no two the same.

        The operand after k = 1, 2, … others joins their expression at a place, with an operator.
        """
        parts = {}
        for operand in range(1, len(self.numbers)):
            parts[f"place{operand}"] = Choice(*range(2 * operand - 1))
            parts[f"operator{operand}"] = Choice(*self.operators)
        return parts

    def split(self, value: Any) -> dict[str, Value]:
        """The values of the parts for a value."""
        ranks = {number: rank for rank, number in enumerate(self.numbers)}
        places, operators = _trees.growth(_trees.canonical(_trees.relabelled(value, ranks)))
        return {f"place{k}": place for k, place in places.items()} | {
            f"operator{k}": operator for k, operator in operators.items()
        }

    def join(self, parts: Mapping[str, Any]) -> Value:
        """The value for values of the parts."""
        operands = range(1, len(self.numbers))
        places = {operand: parts[f"place{operand}"] for operand in operands}
        tree = _trees.grown(places, {operand: parts[f"operator{operand}"] for operand in operands})
        return cast(Value, _trees.relabelled(tree, dict(enumerate(self.numbers))))

    def cross(self, one: Any, other: Any, rng: np.random.Generator) -> Value:
        """One value with a random subtree of the other in it; of two operands, either of them."""
        taken = _trees.subtrees(_trees.canonical(other))
        if not taken:
            return self.canonical((one, other)[int(rng.integers(2))])
        tree: Value = _trees.transplanted(_trees.canonical(one), taken[int(rng.integers(len(taken)))])
        return tree

    def __iter__(self) -> Iterator[Value]:
        parts = self.parts
        return (self.join(dict(zip(parts, values, strict=True))) for values in product(*parts.values()))

    def to_data(self) -> dict[str, Any]:
        """The domain as it stands in a file."""
        operands = list(self.operands) if isinstance(self.operands, tuple) else self.operands
        return {"expression": list(self.operators)} | ({} if operands is None else {"operands": operands})

    def __str__(self) -> str:
        match self.operands:
            case None:
                operands = "the modalities"
            case int(count):
                operands = f"{count} operands"
            case numbers:
                operands = f"the operands {', '.join(map(str, numbers))}"
        return f"trees of {', '.join(self.operators)} over {operands}"


@dataclass(frozen=True)
class Modality:
    """One of the modalities, by its number: for the class of a component, which does not know how many."""

    def for_modalities(self, numbers: Sequence[int]) -> Choice:
        """The numbers, to choose from."""
        return Choice(*numbers)

    def renumbered(self, value: Any, numbers: Sequence[int]) -> int:
        """The place of a modality among those of these numbers."""
        return numbers.index(value)

    def __str__(self) -> str:
        return "any modality"


Plain: TypeAlias = Int | Float | Choice
Domain: TypeAlias = Plain | Expression


def plain_domains(path: str, domain: Domain) -> dict[str, Plain]:
    """A domain as one or more that hold plain values, for algorithms that know no others."""
    if isinstance(domain, Expression):
        return {f"{path}.{name}": part for name, part in domain.parts.items()}
    return {path: domain}


def to_plain(path: str, domain: Domain, value: Value) -> dict[str, Value]:
    """A value of a domain as values of its `plain_domains`."""
    if isinstance(domain, Expression):
        return {f"{path}.{name}": part for name, part in domain.split(value).items()}
    return {path: value}


def from_plain(path: str, domain: Domain, values: Mapping[str, Value]) -> Value:
    """The value of a domain from values of its `plain_domains`."""
    if isinstance(domain, Expression):
        return domain.join({name: values[f"{path}.{name}"] for name in domain.parts})
    return values[path]


def for_modalities(domain: Any, numbers: Sequence[int]) -> Any:
    """A domain of a component's class over the modalities of these numbers."""
    return domain.for_modalities(numbers) if hasattr(domain, "for_modalities") else domain


def ranges_over_modalities(domain: Any) -> bool:
    """Whether the values of a domain of a component's class name modalities."""
    return isinstance(domain, Modality) or (isinstance(domain, Expression) and domain.operands is None)


def domain_from_data(data: Mapping[str, Any]) -> Domain:
    """Read a domain as it stands in a file: `{int: [1, 8], step: 2}`, `{float: [0, 1], log: true}`,
    `{choice: [a, b]}`, `{expression: [add, mul], operands: 3}`; all but the last may be marked
    `fusible: true`.

    Raises:
        ValueError: The mapping is no domain, or the domain is empty or inverted.
    """
    known: dict[str, tuple[Any, tuple[str, ...]]] = {
        "int": (Int, ("log", "step", "fusible")),
        "float": (Float, ("log", "fusible")),
        "choice": (Choice, ("fusible",)),
        "expression": (Expression, ("operands",)),
    }
    kinds = [key for key in data if key in known]
    if len(kinds) != 1:
        raise ValueError(f"{dict(data)!r} is not a domain; give one of {', '.join(known)}")
    kind = kinds[0]
    make, options = known[kind]
    extra = {key: value for key, value in data.items() if key != kind}
    for key in extra.keys() - set(options):
        raise ValueError(f"{kind!r} has no option {key!r}; allowed: {', '.join(options)}")
    for option in ("log", "fusible"):
        if not isinstance(extra.get(option, False), bool):
            raise ValueError(f"{option} must be true or false, not {extra[option]!r}")
    bounds = data[kind]
    if not isinstance(bounds, list | tuple):
        raise ValueError(f"{kind!r} takes a list, not {bounds!r}")
    if kind in ("int", "float") and len(bounds) != 2:
        raise ValueError(f"{kind!r} takes [low, high], not {bounds!r}")
    arguments = bounds if kind in ("int", "float") else [bounds]
    domain: Domain = make(*arguments, **extra)
    return domain


def _operands(given: Any) -> int | tuple[int, ...] | None:
    """Operands as `Expression` holds them: a number where they are 0, 1, …, else all of them."""
    if given is None or (_is_int(given) and given > 0):
        return given if given is None else int(given)
    numbers = tuple(given) if isinstance(given, list | tuple) else ()
    if (
        not numbers
        or not all(_is_int(n) and n >= 0 for n in numbers)
        or list(numbers) != sorted(set(numbers))
    ):
        raise ValueError(
            f"operands must be a whole number from 1 on, or ascending numbers from 0 on, not {given!r}"
        )
    return len(numbers) if numbers == tuple(range(len(numbers))) else numbers


def _check_bounds(low: float, high: float, log: bool, above: int) -> None:
    if low > high:
        raise ValueError(f"the domain [{low}, {high}] is empty: low must not be greater than high")
    if log and (low < above or low <= 0):
        raise ValueError(f"a logarithmic domain starts above 0, not at {low}")


def _same(one: object, other: object) -> bool:
    """Whether two values are equal; numbers are by value, and true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _unless_default(domain: Domain, **defaults: Any) -> dict[str, Any]:
    return {
        name: getattr(domain, name) for name, default in defaults.items() if getattr(domain, name) != default
    }


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or isinstance(value, float | np.floating)
