"""Points of the contract of every component that is a torch module."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.contract._cases import ModuleCase, seeded


def _shapes(case: ModuleCase) -> Iterator[str]:
    module = case.build()
    for training, batch in ((True, 4), (False, 4), (False, 1), (False, 0)):
        inputs = case.inputs(batch)
        try:
            yield from case.misfits(module, case.run(module.train(training), inputs), batch)
        except Exception as error:
            yield f"a batch of {batch} raises {type(error).__name__}: {error}"


def _parameters_learn(case: ModuleCase) -> Iterator[str]:
    module = case.build().train()
    loss = random_projection(case.run(module, case.inputs(16)))
    if loss.requires_grad:
        loss.backward()
    registered = dict(module.named_parameters())
    for name, parameter in registered.items():
        if parameter.requires_grad and parameter.grad is None:
            yield f"{name} gets no gradient; use it in forward, or do not store it"
    known = {id(parameter) for parameter in registered.values()}
    for leaf in _leaves(loss):
        if id(leaf) not in known:
            yield (
                f"{_whereabouts(module, leaf)} is used but not registered;"
                " keep it as nn.Parameter, or in nn.ParameterList or nn.ModuleList"
            )


def _state_restores(case: ModuleCase) -> Iterator[str]:
    module, other = case.build(0).eval(), case.build(1).eval()
    other.load_state_dict(module.state_dict())
    inputs = case.inputs(4)
    if not same(case.run(module, inputs), case.run(other, inputs)):
        yield "another seed's network gives other outputs after load_state_dict; register what differs"


def _deterministic(case: ModuleCase) -> Iterator[str]:
    module, inputs = case.build().eval(), case.inputs(4)
    if not same(case.run(module, inputs), case.run(module, inputs)):
        yield "two calls give different outputs; draw at random in training mode only"


def _samples_are_apart(case: ModuleCase) -> Iterator[str]:
    module, inputs = case.build().eval(), case.inputs(4)
    together = [output[:1] for output in case.run(module, inputs)]
    if not same(together, case.run(module, [values[:1] for values in inputs])):
        yield "a sample gives one output alone and another in a batch"


def random_projection(outputs: Sequence[Tensor]) -> Tensor:
    rng = seeded()
    total = torch.zeros(())
    for output in outputs:
        total = total + (output * torch.randn(output.shape, generator=rng)).sum()
    return total


def _leaves(output: Tensor) -> list[Tensor]:
    """Tensors at the ends of the graph that leads to an output."""
    leaves, seen, nodes = {}, set(), [output.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            leaves[id(leaf)] = leaf
        nodes += [following for following, _ in node.next_functions]
    return list(leaves.values())


def _whereabouts(module: nn.Module, parameter: Tensor) -> str:
    for path, part in module.named_modules():
        for attribute, value in vars(part).items():
            if isinstance(value, list | tuple) and any(item is parameter for item in value):
                return f"a parameter in the {type(value).__name__} {f'{path}.{attribute}'.lstrip('.')}"
    return f"a parameter of shape {tuple(parameter.shape)}"


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(
        torch.allclose(left, right, rtol=1e-4, atol=1e-5) for left, right in zip(one, other, strict=True)
    )


def finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


POINTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "shapes": _shapes,
    "every parameter is registered and learns": _parameters_learn,
    "state_dict round trip": _state_restores,
    "deterministic in eval mode": _deterministic,
    "samples do not see each other in eval mode": _samples_are_apart,
}
