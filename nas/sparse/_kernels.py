"""The product of a sparse matrix and a batch, two ways, with gradients for the stored weights alone.

`dense_product` scatters the weights into a dense matrix; `csr_product` never allocates anything of
the size `out_features × in_features`, neither forward nor backward.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

with warnings.catch_warnings():
    # torch says once per process that its CSR support is in beta; here it is tested against dense.
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the stored weights of a matrix are, by rows and by columns.

    Args:
        shape: Rows and columns.
        rows: Row pointers, shape `(rows + 1,)`, and the column of every weight, shape `(E,)`.
        columns: The same of the transposed matrix.
        order: Position, in the order of the rows, of every weight in the order of the columns.
    """

    shape: tuple[int, int]
    rows: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]
    order: Tensor

    @classmethod
    def of(cls, target: Tensor, source: Tensor, shape: tuple[int, int]) -> "Pattern":
        """Pattern of the edges, which are ordered by target and then by source."""
        order = torch.argsort(source, stable=True)
        # MKL takes 32-bit indices as they are and copies 64-bit ones in every call.
        small = max(len(target), *shape) < 2**31
        index = torch.int32 if small else torch.int64
        return cls(
            shape,
            (_pointers(target, shape[0]).to(index), source.to(index)),
            (_pointers(source, shape[1]).to(index), target[order].to(index)),
            order,
        )

    @property
    def transposed(self) -> "Pattern":
        """Pattern of the transposed matrix; its weights are those of this one at `order`."""
        return Pattern((self.shape[1], self.shape[0]), self.columns, self.rows, torch.argsort(self.order))

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix as a torch CSR tensor that shares `values`."""
        return torch.sparse_csr_tensor(*self.rows, values, self.shape, check_invariants=False)

    def transposed_matrix(self, values: Tensor) -> Tensor:
        """The transposed matrix as a torch CSR tensor, from values in the order of the columns."""
        return torch.sparse_csr_tensor(*self.columns, values, self.shape[::-1], check_invariants=False)


def dense_product(x: Tensor, weight: Tensor, bias: Tensor | None, flat: Tensor, out_features: int) -> Tensor:
    """`nn.Linear` on the weights scattered into the positions `flat` of a dense matrix."""
    in_features = x.shape[-1]
    dense = weight.new_zeros(out_features * in_features)
    # index_copy_ is the fastest forward and backward; vmap has a batching rule for scatter alone.
    dense = dense.scatter(0, flat, weight) if transformed() else dense.index_copy_(0, flat, weight)
    return functional.linear(x, dense.view(out_features, in_features), bias)


def transformed() -> bool:
    """Whether the call is traced, exported, or inside `torch.func`, where custom functions do not go."""
    return torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling()


def csr_product(x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> Tensor:
    """The same result over the edges alone; `x` is `(..., in_features)`."""
    out_features, in_features = pattern.shape
    if not x.numel() or not weight.numel():  # nothing to sum, and the kernels take no empty operand
        empty = (x.sum() + weight.sum()) * 0
        y = empty.expand(*x.shape[:-1], out_features)
    else:
        # Units first: the layout in which all three sparse kernels are fastest.
        columns = x.reshape(-1, in_features).t().contiguous()
        y = _product(weight, columns, pattern).t().reshape(*x.shape[:-1], out_features)
    return (y if bias is None else y + bias).contiguous()  # as nn.Linear's, so that `view` works


def _product(values: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
    product: Tensor = _Product.apply(values, columns, pattern)
    return product


class _Product(Function):
    """`matrix(values) @ columns`, shape `(rows, B)`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(values, columns)
        ctx.pattern = pattern
        return pattern.matrix(values) @ columns

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, columns = ctx.saved_tensors
        pattern, gradient = ctx.pattern, gradients[0].contiguous()
        by_values = by_columns = None
        if ctx.needs_input_grad[0]:
            by_values = _sampled(gradient, columns, pattern)
        if ctx.needs_input_grad[1]:
            by_columns = _transposed_product(values, gradient, pattern)
        return by_values, by_columns, None


class _Sampled(Function):
    """The entries of `left @ right.T` where the pattern has weights, shape `(E,)`."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.pattern = pattern
        nothing = pattern.matrix(left.new_zeros(len(pattern.order)))
        sampled: Tensor = torch.sparse.sampled_addmm(nothing, left, right.t(), beta=0.0)
        return sampled.values()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right = ctx.saved_tensors
        pattern, gradient = ctx.pattern, gradients[0].contiguous()
        by_left = _product(gradient, right, pattern) if ctx.needs_input_grad[0] else None
        by_right = _transposed_product(gradient, left, pattern) if ctx.needs_input_grad[1] else None
        return by_left, by_right, None


def _sampled(left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
    sampled: Tensor = _Sampled.apply(left, right, pattern)
    return sampled


def _transposed_product(values: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
    if torch.is_grad_enabled():  # a second derivative is asked for
        return _product(values[pattern.order], columns, pattern.transposed)
    return pattern.transposed_matrix(values[pattern.order]) @ columns


def _pointers(ends: Tensor, units: int) -> Tensor:
    counts = torch.bincount(ends, minlength=units)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
