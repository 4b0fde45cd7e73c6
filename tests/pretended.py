"""A device that is no device: tensors that claim to be on it, and compute in main memory.

On a machine without a GPU it shows what a GPU would complain of: tensors of two devices in one
operation, generators of another device than what they draw, numpy arrays taken from the device. Unlike
torch's fake tensors these have values, so whole trainings run, with rewiring, freezing and early stops.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")  # which torch knows, and of which it asks nothing
COPY = torch.ops.aten.copy_.default
BETWEEN_DEVICES = {
    COPY,
    torch.ops.aten._to_copy.default,
    torch.ops.aten._has_compatible_shallow_copy_type.default,
}
INDEXED = {  # by indices that may be in main memory
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}


class MixedDevicesError(AssertionError):
    """An operation that a GPU would refuse."""


class Pretended(Tensor):
    """A tensor on the device; `values` is the same in main memory."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "Pretended":
        assert values.device.type == "cpu", values
        wrapped = Tensor._make_wrapper_subclass(
            cls, values.size(), values.stride(), values.storage_offset(), dtype=values.dtype, device=DEVICE
        )
        wrapped.values = values
        return wrapped

    def __repr__(self) -> str:
        return f"Pretended({self.values!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, dict(kwargs or {}))


def dispatch(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operation in main memory; its results are on the device where a GPU would have them there."""
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    _check(func, args, tensors, bool(ours))
    real, options = tree_map_only(Pretended, lambda tensor: tensor.values, (args, kwargs))
    device = options.get("device")
    results = func(*real, **options | ({} if device is None else {"device": "cpu"}))
    if ours and torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape that the wrapper shows
            func(*args, **kwargs)
    if func is COPY:
        there = isinstance(args[0], Pretended)
    else:
        there = bool(ours) if device is None else torch.device(device) == DEVICE
    if not there:
        return results
    known = {id(tensor.values): tensor for tensor in ours}
    return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Pretended(t), results)


def _check(func: Any, args: Sequence[Any], tensors: Sequence[Tensor], here: bool) -> None:
    """Refuse what a GPU would; a tensor of main memory that is one number may go with any."""
    if any(tensor.device == DEVICE and not isinstance(tensor, Pretended) for tensor in tensors):
        raise AssertionError(f"{func} is given a tensor without values: `pretended` has not seen it made")
    if func in INDEXED:
        tensors = [tensor for tensor in (args[0], *args[2:3]) if isinstance(tensor, Tensor)]
    others = [tensor for tensor in tensors if not isinstance(tensor, Pretended) and tensor.dim()]
    if others and here and func not in BETWEEN_DEVICES:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in others)
        raise MixedDevicesError(f"{func} mixes the device with tensors {shapes} in main memory")


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, dict(kwargs or {}))


class _Function(TorchFunctionMode):
    """Lets what torch does to a tensor behind every dispatcher reach its values."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].values.tolist()
        given = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and given.get("device") == DEVICE:
            return func(*args, **given | {"device": None}).to(DEVICE)
        if func == Tensor.new_tensor and isinstance(args[0], Pretended):
            return torch.tensor(args[1], dtype=given.get("dtype", args[0].dtype)).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__):  # lists would become indices without values
            args = args[0], _with_tensors(args[1]), *args[2:]
        result = func(*args, **given)
        generator = given.get("generator")
        if generator is not None and owned(generator) != isinstance(result, Pretended):
            raise MixedDevicesError(f"{func} draws from a generator of another device")
        if func == Tensor.data.__set__ and isinstance(args[1], Pretended):
            args[0].values = args[1].values
        return result


def _with_tensors(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_with_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


class Generator(torch.Generator):
    """A generator that may be on the device."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls, "cpu")
        made.there = torch.device(device) == DEVICE
        return made

    @property
    def device(self):
        return DEVICE if self.there else torch.device("cpu")


def owned(generator: torch.Generator) -> bool:
    return getattr(generator, "there", False)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, for as long as it is there."""
    with (
        mock.patch("torch.Generator", Generator),
        mock.patch("torch.inference_mode", lambda on=True: torch.no_grad() if on else nullcontext()),
        _Function(),
        _Dispatch(),
    ):
        yield DEVICE
