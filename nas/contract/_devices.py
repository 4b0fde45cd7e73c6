"""The point of the contract that a module computes where its inputs are, for those who have no GPU.

It is checked on torch's `meta` device, whose tensors have a shape and no values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.contract._cases import ModuleCase


class _Watch(TorchDispatchMode):
    """Notes the operations that take or give a tensor elsewhere; single numbers may be anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.strays: dict[str, None] = {}

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._note(operation, (args, kwargs))
        result = operation(*args, **(kwargs or {}))
        self._note(operation, result)
        return result

    def _note(self, operation: Callable[..., Any], values: Any) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor) and value.ndim and value.device.type != "meta":
                self.strays[f"a tensor of shape {tuple(value.shape)} in {operation}"] = None


def _stays_on_its_device(case: ModuleCase) -> Iterator[str]:
    inputs = [values.to("meta") for values in case.inputs(4)]
    module = case.build().train().to("meta")
    with _Watch() as watch:
        try:
            loss = torch.stack([output.square().sum() for output in case.run(module, inputs)]).sum()
            if loss.requires_grad:
                loss.backward()
        except (NotImplementedError, RuntimeError):
            pass  # on from here it needs values, or is a stray that was noted
    for stray in watch.strays:
        yield f"{stray} is on the processor; make it with `device=` of an input, or register it as a buffer"


POINTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "computes on the device of its inputs": _stays_on_its_device,
}
