"""Points of the contract of encoders: masks, and texts that are padded or empty."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from nas.contract._cases import EncoderCase
from nas.contract._modules import finite, same


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
    if case.given["spec"].kind != "text":
        return
    module, [ids] = case.build().eval(), case.inputs(6)
    mask = ids != 0
    other = torch.where(mask, ids, torch.ones_like(ids))
    if not same([module(ids)[:, 0]], [module(ids, mask)[:, 0]]):
        yield "mask=None differs from the mask of all ids but 0"
    tokens, changed = module(ids, mask), module(other, mask)
    seen = mask if tokens.shape[1] == mask.shape[1] else mask.any(1, keepdim=True)
    if not same([tokens * seen[..., None]], [changed * seen[..., None]]):
        yield "token ids under a false mask change the output"


def _empty_texts_are_finite(case: EncoderCase) -> Iterator[str]:
    if case.given["spec"].kind != "text":
        return
    module, [ids] = case.build().train(), case.inputs(4)
    mask = ids != 0
    mask[0] = False
    outputs = module(ids, mask)
    outputs.sum().backward()
    if not finite([outputs]):
        yield "the output is not"
    if not finite([p.grad for p in module.parameters() if p.grad is not None]):
        yield "the gradients are not"


POINTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "its tokens have a mask": _tokens_have_a_mask,
    "padding takes no part": _padding_is_ignored,
    "a text without tokens is finite": _empty_texts_are_finite,
}
