"""Points of the contract of encoders: masks, and texts and sounds that are padded or empty."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nas.contract._cases import EncoderCase, of_several_lengths
from nas.contract._modules import finite, same

MASKED = {"text": "token ids", "audio": "frames"}  # kinds that may have a mask, and what it is over


def _tokens_have_a_mask(case: EncoderCase) -> Iterator[str]:
    module, [x] = case.build().eval(), case.inputs(2)
    tokens, mask = module(x), torch.ones(2, x.shape[-1], dtype=torch.bool)
    if tokens.shape[1] == 1 or not (hasattr(module, "token_mask") or case.given["spec"].kind == "text"):
        return
    own = module.token_mask(mask) if hasattr(module, "token_mask") else mask
    if own.dtype != torch.bool or own.shape != tokens.shape[:2]:
        yield f"bool {tuple(tokens.shape[:2])} expected of `token_mask`, {own.dtype} {tuple(own.shape)} given"
    elif not own.all():
        yield "`token_mask` calls tokens unreal although the whole input is real"


def _padding_is_ignored(case: EncoderCase) -> Iterator[str]:
    kind = case.given["spec"].kind
    if kind not in MASKED:
        return
    module, [x] = case.build().eval(), case.inputs(6)
    mask = _mask(kind, x)
    if kind == "text" and not same([module(x)[:, 0]], [module(x, mask)[:, 0]]):
        yield "mask=None differs from the mask of all ids but 0"
    padding = ~mask.view(len(x), *[1] * (x.dim() - 2), -1)
    tokens, changed = module(x, mask), module(x.masked_fill(padding, 1), mask)
    seen = module.token_mask(mask) if hasattr(module, "token_mask") else mask
    seen = seen if tokens.shape[1] == seen.shape[1] else mask.any(1, keepdim=True)
    if not same([tokens * seen[..., None]], [changed * seen[..., None]]):
        yield f"{MASKED[kind]} under a false mask change the output"


def _nothing_but_padding_is_finite(case: EncoderCase) -> Iterator[str]:
    kind = case.given["spec"].kind
    if kind not in MASKED:
        return
    module, [x] = case.build().train(), case.inputs(4)
    mask = _mask(kind, x)
    mask[0] = False
    outputs = module(x, mask)
    outputs.sum().backward()
    if not finite([outputs]):
        yield "the output is not"
    if not finite([p.grad for p in module.parameters() if p.grad is not None]):
        yield "the gradients are not"


def _mask(kind: str, x: Tensor) -> Tensor:
    """True for ids that are not 0, and for frames of sounds of several lengths."""
    return x != 0 if kind == "text" else of_several_lengths(len(x), x.shape[-1])


POINTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "its tokens have a mask": _tokens_have_a_mask,
    "padding takes no part": _padding_is_ignored,
    "an input that is all padding is finite": _nothing_but_padding_is_finite,
}
