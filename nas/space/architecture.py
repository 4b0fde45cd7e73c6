"""The architecture: one point of a search space, a plain immutable value with a canonical id."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any


class Architecture(Mapping[str, Any]):
    """An immutable, JSON-serialisable tree, equal to any other with the same content.

    A component is a mapping of its name to its hyper-parameters: `{"late": {}}`,
    `{"small_world": {"layers": 2, "topology": {"ring": {"k": 4}}}}`. So an architecture reads like
    the search space it comes from, with every choice made.

    Args:
        tree: Nested mappings and lists of text, numbers, booleans and nulls.

    Raises:
        ValueError: The tree holds something that JSON does not, or a number that is not finite.

    >>> one = Architecture({"dim": 16, "fusion": {"late": {}}})
    >>> one == Architecture.from_json(one.to_json())
    True
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = _freeze(tree, "architecture")
        self._canonical = json.dumps(_thaw(self._tree), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Hash of the content, independent of key order: 16 hexadecimal digits."""
        return hashlib.sha256(self._canonical.encode()).hexdigest()[:16]

    def to_data(self) -> dict[str, Any]:
        """The tree as new dictionaries and lists."""
        thawed: dict[str, Any] = _thaw(self._tree)
        return thawed

    def to_json(self) -> str:
        """Canonical JSON text: sorted keys, no spaces."""
        return self._canonical

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is not the JSON of an object.
        """
        tree = json.loads(text)
        if not isinstance(tree, dict):
            raise ValueError(f"an architecture is a JSON object, not {text[:40]!r}")
        return cls(tree)

    def __getitem__(self, key: str) -> Any:
        return self._tree[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._canonical == other._canonical

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Architecture.from_json, (self._canonical,)

    def __repr__(self) -> str:
        return f"Architecture({self._canonical})"


def _freeze(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{path}: the key {key!r} is not text")
        return MappingProxyType({key: _freeze(value[key], f"{path}.{key}") for key in sorted(value)})
    if isinstance(value, list | tuple):
        return tuple(_freeze(item, f"{path}[{index}]") for index, item in enumerate(value))
    if isinstance(value, float):
        if value != value or abs(value) == float("inf"):
            raise ValueError(f"{path}: {value} is not a finite number")
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{path}: {value!r} ({type(value).__name__}) cannot be part of an architecture")


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value
