"""Points of the contract of fusions: absent modalities, gates, modality dropout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.contract._cases import FusionCase, seeded
from nas.contract._modules import finite, random_projection, same


def _present(case: FusionCase) -> Tensor:
    """Every pattern of absent modalities: bool `(2^M, M)`."""
    return torch.cartesian_prod(*[torch.tensor([False, True])] * len(case.dims)).view(-1, len(case.dims))


def _with_absent(features: Sequence[Tensor], present: Tensor, value: float) -> list[Tensor]:
    return [
        torch.where(present[:, index].view(-1, *[1] * (feature.ndim - 1)), feature, value)
        for index, feature in enumerate(features)
    ]


def _absent_do_not_matter(case: FusionCase) -> Iterator[str]:
    present = _present(case)
    module, features = case.build().eval(), case.inputs(len(present))
    plain = module(features, present)
    if not same([plain], [module(_with_absent(features, present, 7.0), present)]):
        yield "other features of an absent modality change the output"
    if not same([plain], [module(_with_absent(features, present, float("nan")), present)]):
        yield "NaN in an absent modality changes the output; use masked_fill or where, not a product"


def _absent_leave_gradients(case: FusionCase) -> Iterator[str]:
    module, present = case.build().train(), _present(case)
    output = module(_with_absent(case.inputs(len(present)), present, float("nan")), present)
    if output.requires_grad:
        output.sum().backward()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not finite([parameter.grad]):
            yield f"{name} gets one that is not finite when an absent modality is NaN"


def _nothing_present_is_finite(case: FusionCase) -> Iterator[str]:
    features = case.inputs(4)
    for batch in (4, 0):
        absent = torch.zeros(batch, len(features), dtype=torch.bool)
        if not finite([case.build().eval()([feature[:batch] for feature in features], absent)]):
            yield "the output is not finite"


def _all_present_is_none(case: FusionCase) -> Iterator[str]:
    module, features = case.build().eval(), case.inputs(4)
    if not same([module(features)], [module(features, torch.ones(4, len(features), dtype=torch.bool))]):
        yield "the outputs differ"


def _gates_have_their_form(case: FusionCase) -> Iterator[str]:
    module, features = case.build().eval(), case.inputs(4)
    returned = module(features, None, return_gates=True)
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], Mapping):
        yield f"(fused, {{'type', 'weights'}}) expected, {type(returned).__name__} given"
        return
    fused, gates = returned
    if set(gates) != {"type", "weights"}:
        yield f"the keys 'type' and 'weights' expected, {sorted(gates)} given"
        return
    if gates["type"] not in (case.name, "identity"):
        yield f"the type is {gates['type']!r}; {case.name!r} or 'identity' expected"
    if gates["weights"] is not None and not isinstance(gates["weights"], Tensor):
        yield f"the weights are a {type(gates['weights']).__name__}, neither a tensor nor None"
    if not same([fused], [module(features)]):
        yield "the output differs from the one without return_gates"


def _no_modality_vanishes(case: FusionCase) -> Iterator[str]:
    """Modality dropout is drawn per sample: a gradient reaches each modality of a large batch."""
    module = case.build().train()
    reached = torch.tensor([_reached(module, case.inputs(32)) for _ in range(12)])
    for index in range(reached.shape[1]):
        if reached[:, index].any() and not reached[:, index].all():
            yield f"in training, modality {index} is at times dropped for a whole batch; draw per sample"


def _padding_is_ignored(case: FusionCase) -> Iterator[str]:
    """Some tokens are padding, in one modality of the first sample all of them."""
    if not case.takes_tokens:
        return
    module, tokens = case.build().eval(), case.inputs(8)
    masks = [torch.rand(values.shape[:2], generator=seeded()) < 0.7 for values in tokens]
    masks[0][0] = False
    padded = [
        values.masked_fill(~mask[..., None], float("nan")) for values, mask in zip(tokens, masks, strict=True)
    ]
    plain = module(tokens, None, masks=masks)
    if not same([plain], [module(padded, None, masks=masks)]):
        yield "other tokens under a false mask change the output"
    if not finite([plain]):
        yield "the output is not finite"
    everything = [torch.ones_like(mask) for mask in masks]
    if not same([module(tokens)], [module(tokens, None, masks=everything)]):
        yield "masks that are true everywhere are not the same as none"


def _reached(module: nn.Module, features: list[Tensor]) -> list[bool]:
    features = [feature.requires_grad_() for feature in features]
    output = random_projection([module(features)])
    if not output.requires_grad:
        return [False] * len(features)
    gradients = torch.autograd.grad(output, features, allow_unused=True)
    return [gradient is not None and bool(gradient.any()) for gradient in gradients]


POINTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "absent modalities have no influence": _absent_do_not_matter,
    "gradients with absent modalities": _absent_leave_gradients,
    "nothing present": _nothing_present_is_finite,
    "all present is the same as present=None": _all_present_is_none,
    "padding takes no part": _padding_is_ignored,
    "return_gates": _gates_have_their_form,
    "no modality vanishes for a batch": _no_modality_vanishes,
}
