"""YAML documents that remember where each key stands, so that an error can name its line."""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nas.errors import KeyPathError, RequestError

KeyPath = tuple[str, ...]
MERGE_TAG = "tag:yaml.org,2002:merge"
# PyYAML leaves these to the caller where a tag does not fit its value, such as `!!bool maybe`.
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice and reads `1e-3` as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE_TAG:
                continue
            key = self.construct_object(key_node, deep=True)
            fault = None if isinstance(key, Hashable) else "a mapping or a list cannot be a key"
            if fault or key in seen:
                fault = fault or f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


@dataclass
class Document:
    """Data read from YAML files, and the file and line of each key path.

    Args:
        file: The file that the data come from.
        data: What it holds.
        lines: Line numbers by key path.
        included: Documents that stand for one key path each.
        overridden: Key paths whose values the command line gave.
    """

    file: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    included: dict[KeyPath, "Document"] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)

    def place(self, path: KeyPath) -> str:
        """`file:line` of the nearest key on the way to `path`, for the start of an error message."""
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overridden:
                return f"{self.file} with --set {'.'.join(prefix)}"
            if prefix in self.included:
                return self.included[prefix].place(path[length:])
            if prefix in self.lines:
                return f"{self.file}:{self.lines[prefix]}"
        return str(self.file)

    def source(self, path: KeyPath) -> Path:
        """The file in which what belongs to a key path stands."""
        return self.included[path].file if path in self.included else self.file

    def error(self, error: KeyPathError) -> RequestError:
        """The same error, with the place in front of it."""
        return RequestError(f"{self.place(error.path)}: {error}")


def read_document(file: Path) -> Document:
    """Read one YAML file that holds a mapping.

    Raises:
        RequestError: The file is missing, unreadable, empty, no YAML, or no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file}: cannot be read: {error}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = None if node is None else loader.construct_document(node)
        lines: dict[KeyPath, int] = {}
        if node is not None:
            _note_lines(node, (), lines)
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RequestError(f"{file}{line}: not valid YAML: {_problem(error)}") from None
    if data is None:
        raise RequestError(f"{file}: the file is empty; it must hold a mapping of keys to values")
    if not isinstance(data, dict):
        raise RequestError(f"{file}: holds {type(data).__name__}, not a mapping of keys to values")
    return Document(file, data, lines)


def parse_value(text: str) -> Any:
    """A value given on the command line, read as YAML.

    Raises:
        RequestError: It is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except NOT_YAML as error:
        raise RequestError(f"{text!r} is not a valid value: {_problem(error)}") from None


def override(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set the value at a key path in place, making the mappings on the way.

    Raises:
        KeyPathError: Something on the way is not a mapping.
    """
    for depth, key in enumerate(path[:-1], start=1):
        child = data.setdefault(key, {})
        if not isinstance(child, dict):
            raise KeyPathError(
                path[:depth],
                f"holds {child!r}, so {'.'.join(path)} cannot be set; set {'.'.join(path[:depth])}",
            )
        data = child
    data[path[-1]] = value


def _problem(error: Exception) -> str:
    """What is wrong with a text, without the excerpt that PyYAML adds."""
    return getattr(error, "problem", None) or getattr(error, "context", None) or f"{error}".split("\n")[0]


def _note_lines(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], above: tuple[yaml.Node, ...] = ()
) -> None:
    if node in above:
        raise yaml.constructor.ConstructorError(
            None, None, "an alias leads back into itself", node.start_mark
        )
    children: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(index), item, item) for index, item in enumerate(node.value)]
    for key, place, value in children:
        below = (*path, key)
        lines[below] = place.start_mark.line + 1
        _note_lines(value, below, lines, (*above, node))
