"""Domains: the legal values of one hyper-parameter.

A domain is the one source for sampling, mutation, validation and documentation of a value.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Int:
    """Whole numbers `low, low + step, … <= high`.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Sample uniformly in the logarithm (needs `low >= 1` and `step == 1`).
        step: Distance of neighbouring values.

    Raises:
        ValueError: The domain is empty, inverted, or logarithmic where it cannot be.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

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
        return {"int": [self.low, self.high]} | _unless_default(self, log=False, step=1)

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

    Raises:
        ValueError: The domain is empty, inverted, not finite, or logarithmic where it cannot be.
    """

    low: float
    high: float
    log: bool = False

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
        return {"float": [self.low, self.high]} | _unless_default(self, log=False)

    def __str__(self) -> str:
        return f"{self.low:g}…{self.high:g}{' log' * self.log}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of several plain values, without an order.

    Args:
        options: The values, each once: `Choice("relu", "gelu")` or `Choice(["relu", "gelu"])`.

    Raises:
        ValueError: There is no option, one is given twice (`1` and `1.0` are the same), or one is
            not a plain value.
    """

    options: tuple[Value, ...]

    def __init__(self, *options: Value | Iterable[Value]) -> None:
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

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.options)

    def sample(self, rng: np.random.Generator) -> Value:
        """A random value of the domain."""
        return self.options[int(rng.integers(len(self.options)))]

    def contains(self, value: object) -> bool:
        """Whether a value is one of the domain, of the right type."""
        return any(_same(value, option) for option in self.options)

    def option(self, value: object) -> Value:
        """The option that equals `value`, as it was given: 1.0, where an architecture writes 1."""
        return next(option for option in self.options if _same(value, option))

    def __iter__(self) -> Iterator[Value]:
        return iter(self.options)

    def to_data(self) -> dict[str, Any]:
        """The domain as it stands in a file."""
        return {"choice": list(self.options)}

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


Domain: TypeAlias = Int | Float | Choice


def domain_from_data(data: Mapping[str, Any]) -> Domain:
    """Read a domain as it stands in a file: `{int: [1, 8], step: 2}`, `{float: [0, 1], log: true}`,
    `{choice: [a, b]}`.

    Raises:
        ValueError: The mapping is no domain, or the domain is empty or inverted.
    """
    known: dict[str, tuple[Any, set[str]]] = {
        "int": (Int, {"log", "step"}),
        "float": (Float, {"log"}),
        "choice": (Choice, set()),
    }
    kinds = [key for key in data if key in known]
    if len(kinds) != 1:
        raise ValueError(f"{dict(data)!r} is not a domain; give one of int, float, choice")
    kind = kinds[0]
    make, options = known[kind]
    extra = {key: value for key, value in data.items() if key != kind}
    for key in extra.keys() - options:
        raise ValueError(f"{kind!r} has no option {key!r}; allowed: {', '.join(sorted(options)) or 'none'}")
    if not isinstance(extra.get("log", False), bool):
        raise ValueError(f"log must be true or false, not {extra['log']!r}")
    bounds = data[kind]
    if not isinstance(bounds, list | tuple):
        raise ValueError(f"{kind!r} takes a list, not {bounds!r}")
    if kind != "choice" and len(bounds) != 2:
        raise ValueError(f"{kind!r} takes [low, high], not {bounds!r}")
    domain: Domain = Choice(list(bounds)) if kind == "choice" else make(*bounds, **extra)
    return domain


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
