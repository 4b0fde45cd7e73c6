"""What an architecture is made of, slot by slot."""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.space.presence import used

IN_SHORT = ("modalities", "connector", "fusion", "head")
BY_MODALITY = "encoders"  # the slot that has a component for each modality, of which there may be one


def selections(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every choice of a component in an architecture: the slot as a path of keys, and the name."""
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            continue
        slot = f"{path}.{key}" if path else key
        if slot != BY_MODALITY and _selects(value):
            [(name, settings)] = value.items()
            yield slot, name
            yield from selections(settings, f"{slot}.{name}")
        else:
            yield from selections(value, slot)


def parts(tree: Mapping[str, Any]) -> dict[str, str]:
    """Every slot of an architecture in words, such as `connector: small_world (layers 2, rewiring set)`."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if not isinstance(value, Mapping) or (key != BY_MODALITY and _selects(value)):
            found[key] = _words(value)
        else:
            found |= {f"{key} {name}": _words(content) for name, content in value.items()}
    return found


def in_short(architecture: Mapping[str, Any]) -> dict[str, str]:
    """By `IN_SHORT`: the modalities that a network uses, and the names of its components.

    A network of one modality has neither connector nor fusion; their names are empty then.
    """
    slots = {slot: " ".join(architecture.get(slot, ())) for slot in IN_SHORT[1:]}
    return {"modalities": " ".join(used(architecture, architecture[BY_MODALITY]))} | slots


def fusing(architecture: Mapping[str, Any]) -> str:
    """How a network fuses, or what its only modality is."""
    named = in_short(architecture)
    return named["fusion"] or f"{named['modalities']} alone"


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if not isinstance(value, Mapping):
        return str(value)
    if not _selects(value):
        return ", ".join(f"{name} {_words(content)}" for name, content in value.items())
    [(name, settings)] = value.items()
    return f"{name} ({_words(settings)})" if settings else name


def _selects(tree: Mapping[str, Any]) -> bool:
    """Whether it is `{name: settings}`, the choice of a component."""
    return len(tree) == 1 and isinstance(next(iter(tree.values())), Mapping)
