"""`memory_mb`: peak memory of one forward pass of one sample."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.objectives import Context
from nas.registry import register

MEGABYTE = 2**20


@register("objective", "memory_mb")
class Memory:
    """Largest number of mebibytes (2²⁰ bytes) that tensors take while one sample is predicted.

    Parameters and buffers are in it, and whatever is alive at the same time during a forward pass
    without gradients. On a GPU the allocator of torch is asked, so that what kernels take for
    themselves counts too.
    """

    direction = "minimize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """Mebibytes, greater than 0."""
        network, device = context.network, context.sample.labels.device
        held = _Held()
        for tensor in [*network.parameters(), *network.buffers()]:
            held.add(tensor)
        with context.predicting():
            context.forward()  # what is made once and kept, such as a layout, is no part of the peak
            if device.type != "cuda":
                with held:
                    context.forward()
                return held.peak / MEGABYTE
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            context.forward()
            return (held.now + torch.cuda.max_memory_allocated(device) - before) / MEGABYTE


class _Held(TorchDispatchMode):
    """Bytes of the storages that are alive, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
                self.add(leaf)
        return result

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
