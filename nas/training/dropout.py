"""Dropout whose draws are made outside of the network, so that networks can be mapped over together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Call:
    """A call of dropout.

    Args:
        p: Probability that a unit is dropped.
        size: Size of its input.
        stride: Strides in which torch would draw for it.
        dtype: Type of its input.
    """

    p: float
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor, p: float) -> "Call":
        """The call of `F.dropout(x, p)`."""
        return cls(p, x.shape, torch.empty_like(x).stride(), x.dtype)

    def noise(self, p: float, generator: torch.Generator) -> Tensor:
        """What the input is multiplied by: 0 or 1 / (1 − p), drawn as torch draws it on a CPU.

        Args:
            p: Probability instead of the call's own.
            generator: Source of the draws, on the device of the input.
        """
        if p in (0.0, 1.0):  # nothing is drawn then
            return torch.full(self.size, 1.0 - p, dtype=self.dtype, device=generator.device)
        noise = torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=generator.device)
        return noise.bernoulli_(1 - p, generator=generator).div_(1 - p)


class _Replaced(TorchFunctionMode):
    """Hands every active dropout to `drop`, and makes up for what `vmap` does not know.

    Layouts in memory are left alone, and padding learns nothing.
    """

    def drop(self, x: Tensor, p: float) -> Tensor:
        raise NotImplementedError

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in (F.dropout, torch.dropout):
            x, p, training = _arguments(func, args, given)
            return self.drop(x, p) if training else x
        if func is F.embedding:
            return _embedded(*args, **given)
        if func is Tensor.contiguous:
            given.pop("memory_format", None)
        return func(*args, **given)


def _embedded(
    ids: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    """`F.embedding`; mapped over, it keeps the gradient from the padding of the first member alone."""
    rows = F.embedding(ids, weight, None, *args, **kwargs)
    return rows if padding_idx is None else torch.where((ids == padding_idx)[..., None], rows.detach(), rows)


def _arguments(func: Any, args: Sequence[Any], given: dict[str, Any]) -> tuple[Tensor, float, bool]:
    names = ("input", "p", "training" if func is F.dropout else "train")
    defaults = {"p": 0.5, "training": True}
    found = defaults | dict(zip(names, args, strict=False)) | given
    return found["input"], float(found["p"]), bool(found[names[2]])


class Noted(_Replaced):
    """Drops by draws of its own and notes every call.

    Args:
        generator: Source of the draws.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator
        self.calls: list[Call] = []
        self.noise: list[Tensor] = []

    def drop(self, x: Tensor, p: float) -> Tensor:
        """The input with units dropped."""
        self.calls.append(Call.of(x, p))
        self.noise.append(self.calls[-1].noise(p, self.generator))
        return x * self.noise[-1]


class Played(_Replaced):
    """Drops by noise that was drawn before, call by call.

    Args:
        noise: What each call multiplies its input by.
    """

    def __init__(self, noise: Sequence[Tensor]) -> None:
        super().__init__()
        self.noise = iter(noise)

    def drop(self, x: Tensor, p: float) -> Tensor:
        """The input with units dropped."""
        return x * next(self.noise)
