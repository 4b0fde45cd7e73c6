"""Files that the components of a search space read."""

from dataclasses import replace
from pathlib import Path

from nas.errors import KeyPathError
from nas.registry import get
from nas.space.domains import Choice
from nas.space.search_space import Fixed, Group, Node, SearchSpace, Select


def locate_files(space: SearchSpace, folder: Path) -> SearchSpace:
    """The space with absolute paths of the files and folders that its components read.

    A component names the hyper-parameters that are such paths in its class attribute `paths`.

    Args:
        space: The space as it stands in a file.
        folder: Folder of that file, where relative paths start.

    Raises:
        KeyPathError: There is no such file or folder; names the key path.
    """
    return replace(space, root=_group(space.root, (), folder, ()))


def _group(group: Group, paths: tuple[str, ...], folder: Path, place: tuple[str, ...]) -> Group:
    children = {
        name: _located(child, folder, (*place, name))
        if name in paths
        else _node(child, folder, (*place, name))
        for name, child in group.children.items()
    }
    return replace(group, children=children)


def _node(node: Node, folder: Path, place: tuple[str, ...]) -> Node:
    match node:
        case Group():
            return _group(node, (), folder, place)
        case Select(kind, options):
            parts = {
                name: _group(part, getattr(get(kind, name), "paths", ()), folder, (*place, name))
                for name, part in options.items()
            }
            return replace(node, options=parts)
        case _:
            return node


def _located(node: Node, folder: Path, place: tuple[str, ...]) -> Node:
    match node:
        case Fixed(str(value)):
            return Fixed(_absolute(value, folder, place))
        case Choice(options):
            return Choice(*(_absolute(str(option), folder, place) for option in options))
        case _:
            return node


def _absolute(value: str, folder: Path, place: tuple[str, ...]) -> str:
    file = (folder / value).resolve()
    if not file.exists():
        raise KeyPathError(place, f"{value!r} does not exist; {file} is where it was looked for")
    return str(file)
