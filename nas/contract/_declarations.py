"""Points of the contract that the class itself has to keep, before anything is built."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from nas.contract._cases import SPECS
from nas.errors import near_misses
from nas.registry import hyper_parameters
from nas.space import Component, Modality

Subject: TypeAlias = tuple[str, type]
"""A kind and a class of it."""


def _has_docstring(subject: Subject) -> Iterator[str]:
    if not (subject[1].__doc__ or "").strip():
        yield "it has none; say in a line what the component computes"


def _domains_are_arguments(subject: Subject) -> Iterator[str]:
    kind, component = subject
    known = hyper_parameters(kind, component)
    for name, domain in getattr(component, "domains", {}).items():
        if name not in known:
            yield f"{name!r} is not a hyper-parameter of the constructor; {near_misses(name, known)}"
        if not isinstance(domain, Component | Modality) and not hasattr(domain, "sample"):
            allowed = "nas.Int, nas.Float, nas.Choice, nas.Expression, nas.Modality or nas.Component"
            yield f"{name!r} is {domain!r}; give {allowed}"


def _declares_kinds(subject: Subject) -> Iterator[str]:
    kinds = getattr(subject[1], "kinds", ())
    if isinstance(kinds, str) or not kinds:
        yield f"`kinds` must be a tuple such as ('image',), not {kinds!r}"
    elif unknown := set(kinds) - set(SPECS):
        yield f"`kinds` has {', '.join(sorted(unknown))}; allowed: {', '.join(SPECS)}"


def _declares_layouts(subject: Subject) -> Iterator[str]:
    kinds, layouts = getattr(subject[1], "kinds", ()), getattr(subject[1], "layouts", {})
    if not isinstance(layouts, dict):
        yield f"`layouts` must be a mapping such as {{'image': ((1, 2, 2),)}}, not {layouts!r}"
        return
    for kind, shapes in layouts.items():
        if kind not in kinds:
            yield f"`layouts` has {kind!r}, which is not one of its kinds {kinds}"
        elif not isinstance(shapes, tuple) or not all(isinstance(shape, tuple) for shape in shapes):
            yield f"`layouts` of {kind!r} must be tuples of least sizes such as ((1, 2, 2),), not {shapes!r}"


def _declares_modalities(subject: Subject) -> Iterator[str]:
    modalities = getattr(subject[1], "modalities", (1, None))
    if not isinstance(modalities, tuple) or len(modalities) != 2:
        yield f"`modalities` must be (fewest, most or None), not {modalities!r}"
    consumes = getattr(subject[1], "consumes", "vectors")
    if consumes not in ("vectors", "tokens"):
        yield f"`consumes` must be 'vectors' or 'tokens', not {consumes!r}"


def _dataset_attributes(subject: Subject) -> Iterator[str]:
    for name in ("modalities", "task", "splits"):
        if not any(_defines(cls, name) for cls in subject[1].__mro__):
            yield f"it has no {name!r}"


def _defines(cls: type, name: str) -> bool:
    """Whether the class has the attribute, annotates it, or sets it in its constructor."""
    own = vars(cls)
    code = getattr(own.get("__init__"), "__code__", None)
    assigned = code.co_names if code else ()
    return name in own or name in own.get("__annotations__", {}) or name in assigned


DOCSTRING = {"docstring": _has_docstring}
_OF_EVERY_KIND = {
    "its domains belong to its constructor": _domains_are_arguments,
}
_OF_KIND: dict[str, dict[str, Callable[[Subject], Iterator[str]]]] = {
    "encoder": {"declares what it reads": _declares_kinds, "declares the shapes": _declares_layouts},
    "fusion": {"declares what it takes": _declares_modalities},
    "dataset": {"has the attributes of a dataset": _dataset_attributes},
}


def declarations(kind: str) -> dict[str, Callable[[Subject], Iterator[str]]]:
    return _OF_EVERY_KIND | _OF_KIND.get(kind, {})
