"""Binary trees over numbered operands, each a leaf once, with an operator at every inner node.

A tree is the number of an operand, or `(operator, left, right)`. Operators are symmetric: of the trees
that differ in the order of two sides alone, the canonical one has the smaller operand on the left.

A tree over the operands 0 … n − 1 grows from the leaf 0: leaf k = 1, 2, … joins it at a place that is
there by then, one of the k leaves or k − 1 inner nodes, and makes a new inner node, k, of itself and what
was there. The places and operators of all leaves stand for every tree exactly once (the argument behind
the (2n − 3)!! rooted trees of Schröder's fourth problem, 1870).
"""

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, TypeAlias

Tree: TypeAlias = Any  # int | tuple[str, Tree, Tree]


def is_tree(value: object, operators: tuple[str, ...]) -> bool:
    """Whether a value has the form of a tree with such operators."""
    if isinstance(value, list | tuple):
        return len(value) == 3 and value[0] in operators and all(is_tree(v, operators) for v in value[1:])
    return isinstance(value, int) and not isinstance(value, bool)


def leaves(tree: Tree) -> list[int]:
    """The operands from left to right."""
    return [tree] if isinstance(tree, int) else leaves(tree[1]) + leaves(tree[2])


def canonical(tree: Tree) -> Tree:
    """The tree in which at every node the side with the smaller operand is on the left."""
    if isinstance(tree, int):
        return tree
    sides = sorted(map(canonical, tree[1:]), key=_first)
    return (tree[0], *sides)


def grown(places: Mapping[int, int], operators: Mapping[int, str]) -> Tree:
    """The canonical tree in which leaf k joined at `places[k]` with `operators[k]`, k = 1, 2, ….

    Places 0 … k − 1 are leaves, k … 2k − 2 the inner nodes 1 … k − 1.
    """
    sides: dict[int, list[int]] = {}  # of the inner nodes, which here are negative
    root = 0
    for leaf, place in places.items():
        node = place if place < leaf else leaf - 1 - place
        for pair in sides.values():
            pair[:] = [-leaf if side == node else side for side in pair]
        root = -leaf if root == node else root
        sides[-leaf] = [node, leaf]

    def tree(node: int) -> Tree:
        return node if node >= 0 else (operators[-node], *map(tree, sides[node]))

    return canonical(tree(root))


def growth(tree: Tree) -> tuple[dict[int, int], dict[int, str]]:
    """Places and operators from which `grown` gives a canonical tree."""
    places, operators = {}, {}
    for operator, left, right in _inner_nodes(tree):
        leaf = _first(right)
        operators[leaf] = operator
        places[leaf] = _place(left, leaf)
    order = sorted(places)
    return {leaf: places[leaf] for leaf in order}, {leaf: operators[leaf] for leaf in order}


def subtrees(tree: Tree) -> list[Tree]:
    """The subtrees of two leaves or more, the whole left out."""
    return [node for node in _inner_nodes(tree) if node is not tree]


def transplanted(tree: Tree, subtree: Tree) -> Tree:
    """A canonical tree with a subtree of another one in place of the first of its leaves.

    The subtree's other leaves are taken from where they were, and nodes with one side left close up.
    """
    places = dict.fromkeys(leaves(subtree)) | {_first(subtree): subtree}
    return canonical(_replaced(tree, lambda leaf: places.get(leaf, leaf)))


def among(tree: Tree, operands: Container[int]) -> Tree | None:
    """A canonical tree without its other leaves; None where none is left."""
    left = _replaced(tree, lambda leaf: leaf if leaf in operands else None)
    return None if left is None else canonical(left)


def relabelled(tree: Tree, numbers: Mapping[int, int]) -> Tree:
    """The tree with other numbers for its operands, in the same order."""
    return _replaced(tree, numbers.__getitem__)


def _replaced(tree: Tree, leaf: Callable[[int], Tree | None]) -> Tree | None:
    """The tree with another one for every leaf; where there is none for it, its node closes up."""
    if isinstance(tree, int):
        return leaf(tree)
    sides = [side for side in (_replaced(side, leaf) for side in tree[1:]) if side is not None]
    return (tree[0], *sides) if len(sides) == 2 else sides[0] if sides else None


def _inner_nodes(tree: Tree) -> Iterator[Tree]:
    if not isinstance(tree, int):
        yield tree
        yield from _inner_nodes(tree[1])
        yield from _inner_nodes(tree[2])


def _first(tree: Tree) -> int:
    """The smallest operand of a canonical tree."""
    while not isinstance(tree, int):
        tree = tree[1]
    return tree


def _place(tree: Tree, leaf: int) -> int:
    """What is at the top of a canonical tree while it has no leaves from `leaf` on: where `leaf` joins."""
    while not isinstance(tree, int):
        latest = _first(tree[2])
        if latest < leaf:
            return leaf - 1 + latest
        tree = tree[1]
    return tree
