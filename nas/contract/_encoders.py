"""Points of the contract of encoders of texts."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from nas.contract._cases import EncoderCase
from nas.contract._modules import finite, same


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
    "padding takes no part": _padding_is_ignored,
    "a text without tokens is finite": _empty_texts_are_finite,
}
