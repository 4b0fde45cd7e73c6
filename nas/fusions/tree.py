"""`tree`: a searched binary tree over the modalities (as in DC-NAS, Liang et al., AAAI 2024)."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.fusions._inputs import AlignedFusion
from nas.registry import register
from nas.space import Expression

OPERATORS = Expression(("add", "mul", "cat", "max", "mean"))


@register("fusion", "tree")
class TreeFusion(AlignedFusion):
    """The vectors, after projection to a common width, combined two by two along a binary tree.

    `add` a + b, `mul` a ⊙ b, `max` max(a, b), `mean` (a + b)/2, `cat` ReLU(W [a; b] + w) with a W of its
    own at every node. Where one side of a node is absent with all that is below it, the node gives the
    other side; `cat` sees zeros for it. The two sides of a node are alike: trees that differ in their
    order alone are one and the same.

    Args:
        dims: Width of every modality's vector.
        expression: The tree: the number of a modality, or `[operator, left, right]`, such as
            `[add, [mul, 0, 2], 1]`, with every modality once. None: `cat` of all, one after the other.
        out_dim: Common width, that of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The expression is none over these modalities.
    """

    domains = {"expression": OPERATORS}
    name = "tree"

    def __init__(self, dims: Sequence[int], expression: Any = None, out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        if expression is None:
            expression = 0
            for modality in range(1, len(self.dims)):
                expression = ("cat", expression, modality)
        own = OPERATORS.for_modalities(range(len(self.dims)))
        if not own.contains(expression):
            raise ValueError(f"{expression!r} is no expression here; allowed are {own}, each modality once")
        self.expression: Any = own.canonical(expression)
        self.layers = nn.ModuleList(
            nn.Linear(2 * self.out_dim, self.out_dim) for _ in range(_count("cat", self.expression))
        )

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, None]:
        """The value of the tree."""
        layers = iter(self.layers)

        def value(node: Any) -> tuple[Tensor, Tensor | None]:
            """Vectors `(B, d)`, zeros where a node has nothing, and where it has something, bool `(B, 1)`."""
            if isinstance(node, int):
                return vectors[node], None if present is None else present[:, node, None]
            operator, (left, in_left), (right, in_right) = node[0], value(node[1]), value(node[2])
            joined = _apply(operator, left, right, layers)
            if in_left is None or in_right is None:
                return joined, None
            if operator == "cat":
                return joined.masked_fill(~(in_left | in_right), 0), in_left | in_right
            return torch.where(in_left & in_right, joined, left + right), in_left | in_right

        return value(self.expression)[0], None


def _apply(operator: str, left: Tensor, right: Tensor, layers: Iterator[nn.Module]) -> Tensor:
    match operator:
        case "add":
            return left + right
        case "mul":
            return left * right
        case "max":
            return torch.maximum(left, right)
        case "mean":
            return (left + right) / 2
        case _:
            linear = next(layers)
            joined: Tensor = linear(torch.cat([left, right], 1)).relu()
            return joined


def _count(operator: str, node: Any) -> int:
    """Number of nodes with an operator."""
    if isinstance(node, int):
        return 0
    return (node[0] == operator) + _count(operator, node[1]) + _count(operator, node[2])
