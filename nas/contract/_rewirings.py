"""Points of the contract of rewirings: what a rule makes of a small layer in training."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from nas.contract._cases import Case, seeded
from nas.sparse import SparseLinear
from nas.topologies import Edges
from nas.training.wiring import Plan, Wiring

LONG = Plan(steps_per_epoch=30, epochs=5)  # for rules that act every hundred steps
SHORT = Plan(steps_per_epoch=10, epochs=3)
INPUTS = 20
FAN_IN = 4


def _trains(case: Case) -> Iterator[str]:
    for outputs in (INPUTS, INPUTS // 2):
        layer = _layer(case, outputs)
        weight, count, promised = layer.weight, len(layer.edges), layer.final_edges
        optimizer = _train(layer, LONG)
        if getattr(layer.rewiring, "conserves", True) and len(layer.edges) != count:
            fault = f"{count} edges became {len(layer.edges)}"
            yield f"{fault}; grow as many as you drop, or set `conserves = False`"
        elif len(layer.edges) != promised:
            fault = f"final_edges promised {promised} edges and there are {len(layer.edges)}"
            yield f"{fault}; say in `final_edges(layer)` how many your rule leaves"
        if layer.weight is not weight:
            yield "the layer has another weight parameter; edit its edges by `layer.rewire`"
        states = [value for value in optimizer.state[layer.weight].values() if value.dim()]
        if any(state.shape != layer.weight.shape for state in states):
            yield "the optimiser's state does not fit the edges; edit them by `layer.rewire`"
        if not all(bool(values.isfinite().all()) for values in (layer.weight, *states)):
            yield "weights or the optimiser's state are not finite"


def _repeats(case: Case) -> Iterator[str]:
    one, other = (_layer(case, INPUTS) for _ in range(2))
    for layer in (one, other):
        _train(layer, SHORT)
    if one.edges != other.edges or not torch.equal(one.weight, other.weight):
        yield "the same seed gives different wirings; draw from a generator seeded in `start`"


def _layer(case: Case, outputs: int) -> SparseLinear:
    target = np.repeat(np.arange(outputs), FAN_IN)
    source = (target + 1 + np.tile(np.arange(FAN_IN), outputs)) % INPUTS
    rule = case.build()  # seeds the initial weights too
    return SparseLinear(INPUTS, outputs, Edges(outputs, INPUTS, target, source), rewiring=rule)


def _train(layer: SparseLinear, plan: Plan) -> torch.optim.Optimizer:
    optimizer, rng = torch.optim.AdamW(layer.parameters(), 1e-2), seeded()
    wiring, draw = Wiring(layer, optimizer, plan, seed=0), partial(torch.randn, generator=rng)
    for step in range(plan.steps):
        wiring.before_step(step)
        loss = (layer(draw(8, INPUTS)) - draw(8, layer.out_features)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not wiring.skips(step):
            optimizer.step()
        wiring.after_step(step)
    wiring.finish()
    return optimizer


POINTS = {"trains": _trains, "follows the seed": _repeats}
