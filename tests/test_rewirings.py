"""Rewirings drop and grow the edges they say, and the optimiser's state goes with the edges."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nas
from nas.datasets import load_dataset
from nas.experiment import Training
from nas.registry import load_plugins, unset
from nas.rewirings import rigl
from nas.rewirings._ch3 import all_scores, scores
from nas.rewirings._places import Places
from nas.sparse import SparseLinear
from nas.topologies import Edges
from nas.training import train
from nas.training.wiring import Plan, Wiring

quick = settings(max_examples=50, deadline=None, derandomize=True)

# Every rule, acting often enough to do something in a short training.
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "set": {},
    "rigl": {"interval": 3},
    "deep_r": {"alpha": 1e-2},
    "cannistraci_hebb": {},
    "gradual_magnitude": {"density": 0.1, "interval": 2},
}
every_rule = pytest.mark.parametrize("name", RULES)
PLAN = Plan(steps_per_epoch=4, epochs=5)
optimizers = {
    "adamw": lambda weights: torch.optim.AdamW(weights, 1e-2, weight_decay=0.1, amsgrad=True),
    "momentum": lambda weights: torch.optim.SGD(weights, 0.05, momentum=0.9),
}
every_optimizer = pytest.mark.parametrize("optimizer", optimizers)


def layer_of(rule: Any = None, inputs: int = 12, outputs: int = 9, density: float = 0.3) -> SparseLinear:
    torch.manual_seed(0)
    wiring = {"erdos_renyi": {"density": density}}
    return SparseLinear(inputs, outputs, wiring, bias=False, rewiring=rule).double()


def positions(layer: SparseLinear) -> set[tuple[int, int]]:
    return set(zip(layer.target.tolist(), layer.source.tolist(), strict=True))


def scattered(layer: SparseLinear, values: Tensor) -> Tensor:
    """The values of the edges in a dense matrix."""
    dense = torch.zeros(layer.out_features, layer.in_features, dtype=values.dtype)
    dense[layer.target, layer.source] = values.detach()
    return dense


@dataclass
class Edit:
    """One call of `layer.rewire`, with the weights and the edges that it found."""

    keep: Tensor
    target: Tensor
    source: Tensor
    weight: Tensor | None
    before: Tensor
    edges: Edges

    @property
    def grown(self) -> set[tuple[int, int]]:
        return set(zip(self.target.tolist(), self.source.tolist(), strict=True))


@dataclass
class Course:
    """A sparse layer in training on random targets, its edits recorded."""

    layer: SparseLinear
    optimizer: torch.optim.Optimizer
    plan: Plan = PLAN
    calls: int = 1
    edits: dict[int, Edit] = field(default_factory=dict)
    now: int = 0

    def __post_init__(self) -> None:
        self.wiring = Wiring(self.layer, self.optimizer, self.plan, seed=0)
        rewire = self.layer.rewire

        def recorded(
            keep: Tensor, target: Sequence[int] = (), source: Sequence[int] = (), weight: Tensor | None = None
        ) -> None:
            ends = (torch.as_tensor(units, dtype=torch.int64) for units in (target, source))
            before = self.layer.weight.detach().clone()
            self.edits[self.now] = Edit(keep, *ends, weight, before, self.layer.edges)
            rewire(keep, target, source, weight)

        self.layer.rewire = recorded  # type: ignore[method-assign]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(step)
        sizes = (self.layer.in_features, self.layer.out_features)
        x, y = (torch.randn(self.calls, 16, size, generator=rng, dtype=torch.float64) for size in sizes)
        return x, y

    def loss(self, compute: Callable[[Tensor], Tensor], step: int) -> Tensor:
        return sum(((compute(x) - y) ** 2).mean() for x, y in zip(*self.batch(step), strict=True))

    def step(self) -> None:
        step = self.now
        self.wiring.before_step(step)
        loss = self.loss(self.layer, step)
        self.optimizer.zero_grad()
        loss.backward()
        if not self.wiring.skips(step):
            self.optimizer.step()
        self.wiring.after_step(step)
        self.now += 1

    def run(self, steps: int | None = None) -> "Course":
        for _ in range(self.plan.steps if steps is None else steps):
            self.step()
        return self


def course(name: str, optimizer: str = "adamw", **kwargs: Any) -> Course:
    layer = layer_of({name: RULES[name]})
    return Course(layer, optimizers[optimizer](layer.parameters()), **kwargs)


# ---------------------------------------------------------------- editing


@st.composite
def edits(draw: st.DrawFn) -> tuple[Edges, Tensor, Tensor]:
    """Edges of a small layer, which of them stay, and empty positions that become edges."""
    outputs, inputs = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    flat = np.array(sorted(draw(st.sets(st.integers(0, outputs * inputs - 1)))), dtype=np.int64)
    keep = np.array(draw(st.lists(st.booleans(), min_size=len(flat), max_size=len(flat))), dtype=bool)
    empty = sorted(set(range(outputs * inputs)) - set(flat[keep].tolist()))
    grown = draw(st.lists(st.sampled_from(empty), unique=True)) if empty else []
    edges = Edges(outputs, inputs, flat // inputs, flat % inputs)
    return edges, torch.from_numpy(keep), torch.tensor(grown, dtype=torch.int64)


@every_optimizer
def test_an_edit_is_the_same_on_the_masked_dense_layer(optimizer: str) -> None:
    @quick
    @given(edit=edits(), as_indices=st.booleans())
    def check(edit: tuple[Edges, Tensor, Tensor], as_indices: bool) -> None:
        edges, keep, grown = edit
        target, source, new = grown // edges.in_features, grown % edges.in_features, 1.0 + grown
        layer = trained_once(edges, optimizer)
        weight, state = layer.weight, layer.optimizer.state[layer.weight]
        dense = {name: scattered(layer, value) for name, value in state.items() if has_edges(value)}
        assert dense
        dense |= {"weight": scattered(layer, weight), "mask": scattered(layer, torch.ones_like(weight))}
        rest = {name: value for name, value in state.items() if name not in dense}
        for values in dense.values():
            values[layer.target[~keep], layer.source[~keep]] = 0
            values[target, source] = 0
        dense["weight"][target, source] = new
        dense["mask"][target, source] = 1

        layer.rewire(keep.nonzero()[:, 0] if as_indices else keep, target, source, new)

        assert layer.weight is weight
        assert torch.equal(layer.target, torch.tensor(layer.edges.target))
        assert torch.equal(layer.source, torch.tensor(layer.edges.source))
        found = {name: state[name] for name in state if name not in rest}
        found |= {"weight": weight, "mask": torch.ones_like(weight)}
        for name, values in found.items():
            assert torch.equal(scattered(layer, values), dense[name]), name
        assert all(state[name] is value for name, value in rest.items())

    check()


def trained_once(edges: Edges, optimizer: str) -> SparseLinear:
    torch.manual_seed(0)
    layer = SparseLinear(edges.in_features, edges.out_features, edges)
    layer.optimizer = optimizers[optimizer](layer.parameters())
    layer(torch.randn(3, edges.in_features)).square().sum().backward()
    layer.optimizer.step()
    return layer


def has_edges(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 1


def test_an_edit_that_changes_nothing_leaves_the_edges_object_alone() -> None:
    layer = layer_of()
    edges, weight = layer.edges, layer.weight.detach().clone()
    layer.rewire(torch.ones(len(edges), dtype=torch.bool))
    layer.rewire()
    assert layer.edges is edges
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize(
    ("keep", "target", "source", "weight", "fault"),
    [
        (None, [0], [1], None, "the edge 1 → 0 is there already or grown twice"),
        (None, [2, 2], [0, 0], None, "the edge 0 → 2 is there already or grown twice"),
        (None, [3], [0], None, "target 3…3 of the new edges is not within the 3 units"),
        (None, [0], [-1], None, "source -1…-1 of the new edges is not within the 3 units"),
        (None, [0, 1], [2], None, "must be equally long lists"),
        (None, [0], [2], torch.ones(2), "must be equally long lists"),
        (torch.ones(2, dtype=torch.bool), [], [], None, r"a mask of 3 edges has shape \(3,\), not \(2,\)"),
        (torch.tensor([0, 0]), [], [], None, "must be distinct and within 0…2"),
        (torch.tensor([3]), [], [], None, "must be distinct and within 0…2"),
    ],
)  # fmt: skip
def test_an_impossible_edit_is_refused_and_changes_nothing(
    keep: Tensor | None, target: list[int], source: list[int], weight: Tensor | None, fault: str
) -> None:
    layer = SparseLinear(3, 3, Edges(3, 3, np.array([0, 1, 2]), np.array([1, 2, 1])))
    before, edges = layer.weight.detach().clone(), layer.edges
    with pytest.raises(ValueError, match=fault):
        layer.rewire(keep, target, source, weight)
    assert layer.edges is edges
    assert torch.equal(layer.weight, before)


def test_fewer_edges_train_while_the_graph_of_more_is_alive() -> None:
    layer = layer_of()
    loss = layer(torch.ones(2, 12, dtype=torch.float64)).sum()
    loss.backward()
    layer.rewire(torch.arange(5))
    layer(torch.ones(2, 12, dtype=torch.float64)).sum().backward()
    assert layer.weight.grad.shape == (5,)
    assert loss.requires_grad


def test_a_copy_and_a_pickle_of_a_layer_leave_its_optimizer_behind() -> None:
    import copy
    import pickle

    running = course("rigl").run(3)
    del running.layer.rewire
    for twin in (copy.deepcopy(running.layer), pickle.loads(pickle.dumps(running.layer))):
        assert twin.optimizer is None
        assert twin.edges == running.layer.edges


# ---------------------------------------------------------------- every rule


@every_optimizer
@every_rule
def test_weights_and_moments_are_those_of_a_masked_dense_loop(name: str, optimizer: str) -> None:
    """The dense layer is given the same decisions; everything else it does by itself."""
    if name == "deep_r":  # its drift is no edit; without it the weights of the edges that stay do not move
        layer = layer_of({"deep_r": {"alpha": 0.0}})
        sparse = Course(layer, optimizers[optimizer](layer.parameters()))
    else:
        sparse = course(name, optimizer)
    layer = sparse.layer
    dense = nn.Parameter(scattered(layer, layer.weight))
    mask = scattered(layer, torch.ones_like(layer.weight)).bool()
    reference = optimizers[optimizer]([dense])
    for step in range(sparse.plan.steps):
        skipped = layer.weight.detach().clone()
        sparse.step()
        reference.zero_grad()
        sparse.loss(lambda x: x @ dense.t(), step).backward()
        dense.grad *= mask
        edit = sparse.edits.get(step)
        if not (name == "rigl" and edit is not None):
            reference.step()
        else:
            assert torch.equal(edit.before, skipped)
        if edit is not None:
            drop, edges = ~edit.keep, edit.edges
            places = torch.tensor(edges.target)[drop], torch.tensor(edges.source)[drop]
            grown = edit.target, edit.source
            mask[places] = False
            mask[grown] = True
            state = reference.state[dense]
            for values in [dense.data, *(value for value in state.values() if value.dim())]:
                values[places] = 0
                values[grown] = 0
            if edit.weight is not None:
                dense.data[grown] = edit.weight
        assert torch.equal(scattered(layer, torch.ones_like(layer.weight)).bool(), mask)
        torch.testing.assert_close(scattered(layer, layer.weight), dense.detach(), rtol=0, atol=1e-12)
        for key, value in sparse.optimizer.state[layer.weight].items():
            expected = reference.state[dense][key]
            found = scattered(layer, value) if value.dim() else value
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert bool(sparse.edits) == (name != "none")


@every_rule
def test_edges_stay_as_many_unless_the_rule_says_otherwise(name: str) -> None:
    running = course(name)
    count, counts = len(running.layer.edges), []
    for _ in range(running.plan.steps):
        running.step()
        counts.append(len(running.layer.edges))
    if nas.get("rewiring", name).conserves:
        assert set(counts) == {count}
    else:
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] < count


@every_rule
def test_a_training_repeats_to_the_bit(name: str) -> None:
    one, other = (course(name).run() for _ in range(2))
    assert one.layer.edges == other.layer.edges
    assert torch.equal(one.layer.weight, other.layer.weight)


@every_rule
def test_a_training_that_is_resumed_is_the_uninterrupted_one(name: str) -> None:
    whole, first, second = (course(name) for _ in range(3))
    whole.run()
    done = 9  # the next step is an update of rigl
    first.run(done)
    stored = (
        first.layer.state_dict(),
        first.optimizer.state_dict(),
        first.layer.rewiring.state_dict(),
    )
    layer, rule = second.layer, second.layer.rewiring
    layer.load_state_dict(stored[0])
    second.optimizer.load_state_dict(stored[1])
    rule.start(layer, second.optimizer, second.plan, 0, done)
    rule.load_state_dict(stored[2])
    second.now = done
    second.run(second.plan.steps - done)
    assert second.layer.edges == whole.layer.edges
    assert torch.equal(second.layer.weight, whole.layer.weight)


@every_rule
def test_a_square_layer_without_loops_gets_none(name: str) -> None:
    layer = SparseLinear(
        8, 8, {"watts_strogatz": {"k": 4}}, bias=False, rewiring={name: RULES[name]}
    ).double()
    Course(layer, optimizers["adamw"](layer.parameters())).run()
    assert not (layer.target == layer.source).any()


@every_rule
@pytest.mark.parametrize("full", [True, False])
def test_complete_and_empty_layers_go_through(name: str, full: bool) -> None:
    keys = np.arange(12) if full else np.arange(0)
    layer = SparseLinear(
        4, 3, Edges(3, 4, keys // 4, keys % 4), bias=False, rewiring={name: RULES[name]}
    ).double()
    course = Course(layer, torch.optim.AdamW(layer.parameters(), 1e-2))
    course.run()
    conserves = nas.get("rewiring", name).conserves
    assert len(layer.edges) == (len(keys) if conserves or not full else 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_rule
def test_a_layer_on_a_gpu_is_rewired_there(name: str) -> None:
    layer = layer_of({name: RULES[name]}).cuda()
    count, optimizer = len(layer.edges), optimizers["adamw"](layer.parameters())
    wiring = Wiring(layer, optimizer, PLAN, seed=0)
    for step in range(PLAN.steps):
        wiring.before_step(step)
        loss = (layer(torch.randn(8, 12, dtype=torch.float64, device="cuda")) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not wiring.skips(step):
            optimizer.step()
        wiring.after_step(step)
    assert len(layer.edges) == (count if layer.rewiring.conserves else round(0.1 * 9 * 12))
    held = [layer.weight, layer.target, layer.source, optimizer.state[layer.weight]["exp_avg"]]
    assert {part.device.type for part in held} == {"cuda"}


def test_all_registered_rules_are_tested_here() -> None:
    assert set(nas.available("rewiring")) == set(RULES)


def test_every_layer_has_a_rule_of_its_own() -> None:
    rule = nas.create("rewiring", "set")
    layers = [layer_of(rule) for _ in range(2)]
    assert len({id(rule), *(id(layer.rewiring) for layer in layers)}) == 3


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("set", {"zeta": 1.5}),
        ("rigl", {"interval": 0}),
        ("rigl", {"alpha": -0.1}),
        ("rigl", {"until": 2}),
        ("deep_r", {"alpha": -1}),
        ("deep_r", {"temperature": -1}),
        ("cannistraci_hebb", {"zeta": -0.1}),
        ("cannistraci_hebb", {"growth": "warm"}),
        ("gradual_magnitude", {"density": 2}),
        ("gradual_magnitude", {"begin": 0.9, "end": 0.5}),
        ("gradual_magnitude", {"interval": 0}),
        ("set", {"zeta": "high"}),
        ("rigl", {"interval": "often"}),
        ("rigl", {"interval": math.inf}),
        ("rigl", {"alpha": None}),
        ("deep_r", {"alpha": None}),
        ("deep_r", {"alpha": math.nan}),
        ("deep_r", {"temperature": math.inf}),
        ("gradual_magnitude", {"begin": None}),
        ("gradual_magnitude", {"interval": 2.5}),
    ],
)
def test_a_hyper_parameter_out_of_range_is_refused_by_name(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} .*{next(iter(wrong.values()))}"):
        nas.create("rewiring", name, **wrong)


# ---------------------------------------------------------------- each rule


def test_set_drops_exactly_the_smallest_positive_and_the_largest_negative_weights() -> None:
    running = course("set").run()
    ends = [step for step in range(running.plan.steps) if (step + 1) % 4 == 0]
    assert list(running.edits) == ends[:-1]
    for edit in running.edits.values():
        weight = edit.before.numpy()
        positive, negative = np.sort(weight[weight >= 0]), np.sort(weight[weight < 0])[::-1]
        expected = [*positive[: int(0.3 * len(positive))], *negative[: int(0.3 * len(negative))]]
        assert sorted(weight[~edit.keep.numpy()]) == sorted(expected)
        assert len(edit.grown) == len(expected)


def test_set_grows_uniformly_among_the_empty_positions() -> None:
    counts = torch.zeros(6, 5)
    taken = Edges(6, 5, np.array([0, 0, 2, 5]), np.array([0, 3, 2, 4]))
    for seed in range(600):
        rule = nas.create("rewiring", "set", zeta=0.0)
        layer = SparseLinear(5, 6, taken)
        rule.start(layer, torch.optim.SGD(layer.parameters()), Plan(1, 2), seed)
        keep = torch.tensor([True, True, True, False])
        counts[rule.draw_empty(layer, keep)] += 1
    occupied = torch.tensor(taken.target[:3]), torch.tensor(taken.source[:3])
    assert not counts[occupied].any()
    counts[occupied] = 600 / 27
    chi_square = ((counts - 600 / 27) ** 2 / (600 / 27)).sum()
    assert chi_square < 46  # the 99 % quantile of 26 degrees of freedom


@quick
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), loops=st.booleans(), data=st.data())
def test_drawn_places_are_distinct_and_empty(
    rows: int, columns: int, loops: bool, data: st.DataObject
) -> None:
    places = Places(rows, columns, loops or rows != columns)
    numbers = torch.arange(len(places))
    target, source = places.ends(numbers)
    assert torch.equal(places.number(target, source), numbers)
    assert places.loops or not (target == source).any()
    chosen = data.draw(st.sets(st.sampled_from(range(len(places))))) if len(places) else set()
    taken = torch.tensor(sorted(chosen), dtype=torch.int64)
    count = data.draw(st.integers(0, len(places) - len(taken)))
    drawn = places.draw_empty(taken, count, torch.Generator().manual_seed(0)).tolist()
    assert len(set(drawn)) == count
    assert set(drawn) <= set(numbers.tolist()) - chosen
    with pytest.raises(ValueError, match="do not fit"):
        places.draw_empty(taken, len(places) - len(taken) + 1, torch.Generator())


@pytest.mark.parametrize("block", [rigl.BLOCK, 1])
@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("square", [False, True])
def test_rigl_grows_the_largest_dense_gradients_of_all_calls(
    calls: int, block: int, square: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rigl, "BLOCK", block)
    layer = layer_of({"rigl": {"interval": 3}}, outputs=12 if square else 9)
    running = Course(layer, optimizers["adamw"](layer.parameters()), calls=calls)
    while running.now < running.plan.steps:
        dense = scattered(layer, layer.weight).requires_grad_()
        [steepness] = torch.autograd.grad(running.loss(lambda x: x @ dense.t(), running.now), dense)  # noqa: B023
        running.step()
        edit = running.edits.get(running.now - 1)
        if edit is None:
            continue
        steepness = steepness.abs()
        kept = torch.tensor(edit.edges.target)[edit.keep], torch.tensor(edit.edges.source)[edit.keep]
        steepness[kept] = -1
        if square:
            steepness.fill_diagonal_(-1)
        largest = steepness.flatten().topk(len(edit.target)).indices
        assert edit.grown == {divmod(int(place), layer.in_features) for place in largest}
        smallest = edit.before.abs().sort().values[: len(edit.target)]
        assert torch.equal(edit.before[~edit.keep].abs().sort().values, smallest)
    assert list(running.edits) == [3, 6, 9, 12]


def test_rigl_follows_its_cosine_and_stops_in_time() -> None:
    running = course("rigl").run()
    count = len(running.layer.edges)
    for step, edit in running.edits.items():
        assert len(edit.target) == int(0.3 / 2 * (1 + math.cos(math.pi * step / 15)) * count)
    assert not running.layer._forward_hooks


def test_rigl_listens_on_the_steps_of_its_updates_alone() -> None:
    running, listening = course("rigl"), []
    for step in range(running.plan.steps):
        listening.append(bool(running.layer._forward_hooks))
        with torch.inference_mode():
            running.layer(torch.ones(1, 12, dtype=torch.float64))
        running.step()
        assert listening[step] == (step in (3, 6, 9, 12))


@pytest.mark.parametrize(("epochs", "updates"), [(500, range(100, 1500, 100)), (12, range(4, 36, 4))])
def test_rigl_updates_every_hundred_steps_or_about_ten_times_in_a_short_training(
    epochs: int, updates: range
) -> None:
    layer = layer_of("rigl")
    rule, plan = layer.rewiring, Plan(steps_per_epoch=4, epochs=epochs)
    rule.start(layer, optimizers["adamw"](layer.parameters()), plan, seed=0)
    assert [step for step in range(plan.steps) if rule._updates(step)] == list(updates)


def test_deep_r_makes_the_steps_of_the_paper() -> None:
    rate, alpha, temperature = 0.05, 1.0, 1e-4
    layer = layer_of({"deep_r": {"alpha": alpha, "temperature": temperature}})
    running = Course(layer, torch.optim.SGD(layer.parameters(), rate))
    noise = torch.Generator().manual_seed(layer.rewiring.generator.initial_seed())
    sign, theta = layer.weight.detach().sign(), layer.weight.detach().abs()
    loss = running.loss(layer, 0)
    [by_weight] = torch.autograd.grad(loss, layer.weight)
    running.step()
    drawn = torch.randn(len(theta), generator=noise).double()
    theta = theta - rate * sign * by_weight - rate * alpha + math.sqrt(2 * rate * temperature) * drawn
    edit = running.edits[0]
    assert torch.equal(edit.keep, theta > 0)
    torch.testing.assert_close(edit.before[edit.keep], (sign * theta)[edit.keep], rtol=0, atol=1e-15)
    assert edit.weight.abs().unique().tolist() == [1e-12]


def test_deep_r_never_turns_a_sign() -> None:
    running = course("deep_r")
    dormant = 0
    for step in range(running.plan.steps):
        before = scattered(running.layer, running.layer.weight).sign()
        running.step()
        stayed = before != 0
        for target, source in running.edits[step].grown if step in running.edits else ():
            stayed[target, source] = False
            dormant += 1
        after = scattered(running.layer, running.layer.weight).sign()
        assert ((after == before) | (after == 0))[stayed].all()
        assert running.layer.weight.all()
    assert dormant


def test_the_noise_of_deep_r_is_a_third_of_its_drift_unless_given() -> None:
    layer = layer_of("deep_r", density=1.0, inputs=100, outputs=100)
    layer.optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    push = layer.rewiring._push(layer)
    assert push.mean().item() == pytest.approx(-0.1 * 1e-5, rel=0.02)
    assert push.std().item() == pytest.approx(0.1 * 1e-5 / 3, rel=0.02)


def brute_force(mask: np.ndarray, u: int, v: int) -> float:
    """CH3-L3 by walking all paths of length three from output u to input v."""
    outputs, inputs = mask.shape
    near_u, near_v = set(), set()
    for z1, z2 in itertools.product(range(inputs), range(outputs)):
        if z1 != v and z2 != u and mask[u, z1] and mask[z2, z1] and mask[z2, v]:
            near_u.add(z1)
            near_v.add(z2)
    score = 0.0
    for z in near_v:
        outside = [i for i in range(inputs) if mask[z, i] and i != v and i not in near_u]
        score += 1 / (1 + len(outside))
    for z in near_u:
        outside = [o for o in range(outputs) if mask[o, z] and o != u and o not in near_v]
        score += 1 / (1 + len(outside))
    return score


@quick
@given(
    rows=st.integers(1, 7), columns=st.integers(1, 7), density=st.floats(0.1, 0.9), seed=st.integers(0, 999)
)
def test_the_score_of_cannistraci_hebb_is_that_of_the_paths(
    rows: int, columns: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    adjacency = torch.tensor(mask, dtype=torch.float32)
    target, source = adjacency.nonzero(as_tuple=True)
    wanted = (adjacency == 0).nonzero(as_tuple=True)
    expected = torch.tensor(
        [brute_force(mask, u, v) for u, v in zip(*map(Tensor.tolist, wanted), strict=True)]
    )
    torch.testing.assert_close(all_scores(adjacency)[wanted], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scores(target, source, mask.shape, wanted), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampled", [False, True])
def test_hard_growth_takes_the_highest_scores(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.rewirings import cannistraci_hebb

    if sampled:
        monkeypatch.setattr(cannistraci_hebb, "DENSE_UNITS", 0)
        monkeypatch.setattr(cannistraci_hebb, "CANDIDATES", 10**6)
    running = course("cannistraci_hebb").run()
    assert running.edits
    for edit in running.edits.values():
        mask = edit.edges.mask()
        mask[edit.edges.target[~edit.keep], edit.edges.source[~edit.keep]] = False
        score = {(u, v): brute_force(mask, u, v) for u, v in np.argwhere(~mask).tolist()}
        grown = sorted((score[place] for place in edit.grown), reverse=True)
        best = sorted(score.values(), reverse=True)[: len(grown)]
        assert grown == pytest.approx(best)
        smallest = edit.before.abs().sort().values[: len(grown)]
        assert torch.equal(edit.before[~edit.keep].abs().sort().values, smallest)


def test_soft_growth_draws_in_proportion_to_the_score() -> None:
    rule = nas.create("rewiring", "cannistraci_hebb", growth="soft")
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0])
    first = torch.bincount(
        torch.cat([rule._highest(rule._race(weights), 1) for _ in range(4000)]), minlength=4
    )
    assert first[0] == 0
    torch.testing.assert_close(first / 4000, weights / 8, rtol=0, atol=0.03)


def test_ties_are_drawn_by_the_seed() -> None:
    chosen = set()
    for seed in range(40):
        rule = nas.create("rewiring", "cannistraci_hebb")
        rule.generator.manual_seed(seed)
        picked = rule._highest(torch.tensor([1.0, 3.0, 1.0, 0.0, 1.0]), 2).tolist()
        assert picked[0] == 1
        chosen.add(picked[1])
    assert chosen == {0, 2, 4}


@pytest.mark.parametrize("mode", ["removal", "growth"])
def test_soft_and_hard_differ(mode: str) -> None:
    wirings = []
    for value in ("hard", "soft"):
        layer = layer_of({"cannistraci_hebb": {mode: value}})
        wirings.append(Course(layer, optimizers["adamw"](layer.parameters())).run().layer.edges)
    assert wirings[0] != wirings[1]
    assert len(wirings[0]) == len(wirings[1])


def test_the_density_of_gradual_magnitude_follows_the_formula() -> None:
    rule = {"gradual_magnitude": {"density": 0.05, "interval": 3, "begin": 0.1, "end": 0.75}}
    layer = layer_of(rule, inputs=40, outputs=30)
    running = Course(layer, optimizers["adamw"](layer.parameters()), Plan(10, 4))
    initial, density = layer.edges.density, layer.edges.density
    for done in range(1, running.plan.steps + 1):
        running.step()
        if 4 <= done <= 30 and ((done - 4) % 3 == 0 or done == 30):
            density = 0.05 + (initial - 0.05) * (1 - (done - 4) / (30 - 4)) ** 3
        assert len(layer.edges) == round(density * 30 * 40), done
    for edit in running.edits.values():
        dropped, kept = edit.before[~edit.keep].abs(), edit.before[edit.keep].abs()
        assert not len(dropped) or dropped.max() <= kept.min()
    assert layer.edges.density == pytest.approx(0.05)


# ---------------------------------------------------------------- in training


class Strange:
    """A rule as a stranger would write it: after every step the weakest edge moves to a free place."""

    def step(self, layer: SparseLinear, step: int) -> None:
        keep = torch.ones(len(layer.edges), dtype=torch.bool)
        keep[layer.weight.abs().argmin()] = False
        [(target, source), *_] = np.argwhere(~layer.edges.mask()).tolist()
        layer.rewire(keep, [target], [source])


def test_a_rule_needs_only_step() -> None:
    layer = layer_of(Strange())
    running = Course(layer, optimizers["adamw"](layer.parameters()))
    count = len(layer.edges)
    running.run()
    assert len(layer.edges) == count
    assert running.optimizer.state[layer.weight]["exp_avg"].shape == (count,)
    assert len(running.edits) == running.plan.steps


def test_a_rule_waits_for_the_end_of_a_search() -> None:
    torch.manual_seed(0)
    layer = SparseLinear(
        12, 12, {"learnable_watts_strogatz": {"k": 4}}, bias=False, rewiring=Strange()
    ).double()
    running = Course(layer, optimizers["adamw"](layer.parameters()), Plan(4, 5, search_steps=8))
    count = len(layer.edges)
    with pytest.raises(ValueError, match="still searched"):
        layer.rewire(torch.arange(3))
    running.edits.clear()
    running.run()
    assert list(running.edits) == list(range(8, 20))
    assert len(layer.edges) == count


def test_exploration_is_the_share_of_positions_that_were_ever_edges() -> None:
    running = course("set")
    seen = positions(running.layer)
    for _ in range(running.plan.steps):
        running.step()
        seen |= positions(running.layer)
        assert running.wiring.exploration() == {"exploration/": pytest.approx(len(seen) / (9 * 12))}
    assert len(seen) > len(running.layer.edges)


def test_a_wide_layer_is_rewired_without_a_dense_matrix() -> None:
    units = 200_000  # a dense bool mask would have 37 GiB
    layer = SparseLinear(units, units, {"ring": {"k": 2}}, rewiring="set")
    layer.rewiring.step(layer, 0)
    assert len(layer.edges) == 2 * units


@pytest.fixture
def trained(toy: Any) -> Callable[..., tuple[SparseLinear, int]]:
    """Train the toy network two epochs; its sparse layer, and how many edges it had before."""
    load_plugins([toy])
    dataset = load_dataset("toy")

    def run(topology: str, rewiring: dict[str, Any]) -> tuple[SparseLinear, int]:
        architecture = {
            "dim": 8,
            "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
            "connector": {"small_world": {"topology": {topology: {}}, "rewiring": rewiring}},
            "fusion": "concat",
            "head": "linear",
        }
        network = nas.build(architecture, dataset.modalities, dataset.task)
        layer = next(part for part in network.modules() if isinstance(part, SparseLinear))
        count = len(layer.weight)
        settings = Training(epochs=2, batch_size=8)
        train(network, dataset.splits["train"], dataset.splits["validation"], settings, seed=0)
        return layer, count

    return run


TOPOLOGIES = [name for name in nas.available("topology") if not unset("topology", nas.get("topology", name))]
BUSY = RULES | {"rigl": {"interval": 1}, "gradual_magnitude": {"density": 0.05, "interval": 1}}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@every_rule
def test_any_topology_trains_with_any_rewiring(
    topology: str, name: str, trained: Callable[..., tuple[SparseLinear, int]]
) -> None:
    layer, count = trained(topology, {name: BUSY[name]})
    assert layer.weight.isfinite().all()
    assert len(layer.weight) == len(layer.edges)
    assert len(layer.edges) == (count if nas.get("rewiring", name).conserves else round(0.05 * 16**2))
    assert layer.optimizer is None
