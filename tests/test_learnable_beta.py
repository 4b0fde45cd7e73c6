"""A learnable beta has the gradient it claims, finds what is planted, and ends as an exact graph."""

import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from nas.contract import check_component
from nas.datasets import load_dataset
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.network import build
from nas.registry import create, load_plugins
from nas.space import Architecture
from nas.sparse import SparseLinear, identifiability
from nas.sparse.backends import BACKENDS, Backend
from nas.topologies._candidates import candidates
from nas.training.wiring import Plan, Wiring, parameter_groups

SEGMENTS = [5, 4, 7]
BETA: dict[str, Any] = {"learnable_watts_strogatz": {"k": 4, "beta": 0.3}}
BUDGETS: dict[str, Any] = {"learnable_budgets": {"k": 3, "beta": 0.4}}

topologies = pytest.mark.parametrize("topology", [BETA, BUDGETS], ids=["beta", "budgets"])


def layer_of(topology: dict[str, Any], dtype: torch.dtype = torch.float64, **kwargs: Any) -> SparseLinear:
    torch.manual_seed(0)
    layer = SparseLinear(16, 16, topology, segments=SEGMENTS, seed=3, **kwargs).to(dtype)
    layer.anneal(0.4)
    return layer


def reference_output(layer: SparseLinear, x: Tensor, seed: int = 3) -> Tensor:
    """Section 2 of the reference, edge by edge; the temperature is that of 40 % of the search."""
    found = candidates(16, 16, 4, SEGMENTS, seed)
    order = np.lexsort((found.lattice, found.target))  # the layer's weights are in the order of its edges
    beta, temperature = layer.beta.item(), 0.7 + (0.1 - 0.7) * 0.4 / 0.8
    y = layer.bias.detach().repeat(len(x), 1)
    for weight, edge in zip(layer.weight.detach(), order, strict=True):
        u = found.uniform[edge]
        z = 1 / (1 + np.exp(-(np.log(beta / (1 - beta)) - np.log(u / (1 - u))) / temperature))
        mixed = (1 - z) * x[:, found.lattice[edge]] + z * x[:, found.random[edge]]
        y[:, found.target[edge]] += weight * mixed
    return y


def exact_output(layer: SparseLinear, x: Tensor) -> Tensor:
    weight = torch.zeros(layer.out_features, layer.in_features, dtype=x.dtype)
    weight[layer.target, layer.source] = layer.weight.detach()
    return x @ weight.t() + layer.bias.detach()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_search_computes_the_reference_formula(backend: Backend) -> None:
    layer = layer_of(BETA)
    layer.backend = backend
    x = torch.randn(6, 16, dtype=torch.float64)
    assert layer.relaxation.temperature.item() == pytest.approx(0.4)
    torch.testing.assert_close(layer(x), reference_output(layer, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["learnable_watts_strogatz", "learnable_budgets"])
def test_gradients_of_shares_weights_and_inputs_are_central_differences(name: str, backend: Backend) -> None:
    layer = SparseLinear(7, 7, {name: {"k": 2}}, segments=[2, 2, 3], bias=False).double()
    layer.backend = backend

    def output(x: Tensor, weight: Tensor, logits: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "share_logits": logits}, (x,))

    torch.manual_seed(1)
    x, logits = torch.randn(2, 7, dtype=torch.float64), torch.randn_like(layer.share_logits)
    inputs = [values.detach().requires_grad_() for values in (x, layer.weight, logits)]
    assert torch.autograd.gradcheck(output, inputs)


def test_the_gradient_of_beta_itself_is_a_central_difference() -> None:
    layer = layer_of(BETA)
    x, wanted = torch.randn(2, 32, 16, dtype=torch.float64)

    def loss(beta: float) -> Tensor:
        with torch.no_grad():
            layer.share_logits.fill_(np.log(beta / (1 - beta)))
        return (layer(x) - wanted).pow(2).mean()

    difference = (loss(0.3 + 1e-5) - loss(0.3 - 1e-5)).item() / 2e-5
    loss(0.3).backward()
    by_beta = layer.share_logits.grad.item() / (0.3 * 0.7)  # d beta / d logit = beta (1 − beta)
    assert abs(difference) > 1e-3
    assert by_beta == pytest.approx(difference, rel=1e-6)


@topologies
def test_functional_transforms_compute_the_same(topology: dict[str, Any]) -> None:
    layer = layer_of(topology)
    x = torch.randn(5, 16, dtype=torch.float64)
    state = dict(layer.named_parameters())

    def output(row: Tensor) -> Tensor:
        return torch.func.functional_call(layer, state, (row,))

    torch.testing.assert_close(torch.func.vmap(output)(x), layer(x))


def test_networks_with_candidates_of_their_own_compute_together() -> None:
    layers = [SparseLinear(12, 12, BETA, seed=seed).double() for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)

    def output(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layers[0], (parameters, buffers), (x,))

    x = torch.randn(5, 12, dtype=torch.float64)
    together = torch.func.vmap(output, in_dims=(0, 0, None))(parameters, buffers, x)
    torch.testing.assert_close(together, torch.stack([layer(x) for layer in layers]))


@pytest.mark.parametrize(("out_features", "in_features", "k"), [(64, 64, 8), (48, 30, 5), (1, 9, 9)])
def test_the_exact_graph_has_fan_in_k_and_moves_the_share_beta_nested(
    out_features: int, in_features: int, k: int
) -> None:
    layer = SparseLinear(in_features, out_features, {"learnable_watts_strogatz": {"k": k}}, seed=1)
    found = candidates(out_features, in_features, k, None, seed=1)
    moved_before: set[tuple[int, int]] = set()
    lattice = set(zip(found.target, found.lattice, strict=True))
    for beta in (0.01, 0.2, 0.5, 0.77, 0.99):
        with torch.no_grad():
            layer.share_logits.fill_(np.log(beta / (1 - beta)))
        edges = layer.edges  # the value refuses an edge that is there twice
        assert edges == found.at(layer.beta.item())
        assert (edges.mask().sum(1) == k).all()
        moved = set(zip(edges.target, edges.source, strict=True)) - lattice
        possible = found.random != found.lattice
        assert len(moved) == ((found.uniform < layer.beta.item()) & possible).sum()
        assert moved_before <= moved
        moved_before = moved


def test_budgets_divide_the_edges_of_every_segment_exactly() -> None:
    segments = [20, 30, 50]
    layer = SparseLinear(100, 100, {"learnable_budgets": {"k": 6}}, segments=segments, seed=2)
    torch.manual_seed(0)
    with torch.no_grad():
        layer.share_logits.normal_()
    budgets = layer.budgets.detach().numpy()
    shares = layer.edges.shares(segments)
    assert (layer.edges.mask().sum(1) == 6).all()
    assert np.allclose(budgets.sum(1), 1)
    assert np.allclose(1 - np.diag(budgets), layer.beta.detach())
    edges = 6 * np.array(segments)
    assert (np.abs(shares * edges.sum() - budgets * edges[:, None]) <= 1).all()


def test_candidates_of_budgets_are_distinct_units_of_every_other_segment() -> None:
    sizes = np.array([3, 40, 9])
    found = create("topology", "learnable_budgets", k=6).candidates(52, 52, segments=sizes.tolist(), seed=1)
    segment = np.repeat(np.arange(3), sizes)
    fan_in = np.bincount(found.target)
    for group in range(3):
        mine = found.group == group
        assert (segment[found.target[mine]] == group).all()
        assert (segment[found.sources[-1, mine]] == group).all()
        for candidate, other in enumerate(np.delete(np.arange(3), group)):
            moved = segment[found.sources[candidate, mine]] == other
            units = np.stack([found.target[mine], found.sources[candidate, mine]])[:, moved]
            assert len(np.unique(units, axis=1).T) == moved.sum()  # distinct within the row
            rows = np.bincount(units[0], minlength=52)[segment == group]
            assert (rows == np.minimum(fan_in[segment == group], sizes[other])).all()
            stays = found.sources[candidate, mine][~moved]
            assert np.array_equal(stays, found.sources[-1, mine][~moved])  # no unit was left


def test_candidates_of_budgets_are_uniform() -> None:
    counts = np.zeros(9)
    for seed in range(300):
        topology = create("topology", "learnable_budgets", k=3)
        found = topology.candidates(14, 14, segments=[5, 9], seed=seed)
        counts += np.bincount(found.sources[0][found.group == 0] - 5, minlength=9)
    expected = counts.sum() / 9
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square, 8 degrees of freedom, p = .001


@pytest.mark.parametrize("segments", [None, [10], [1, 9], [2, 3, 5], [1] * 10, [4, 6]])
@pytest.mark.parametrize("name", ["learnable_watts_strogatz", "learnable_budgets"])
def test_small_and_single_segments_are_wired_validly(name: str, segments: list[int] | None) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(10, 10, {name: {"k": 4}}, segments=segments, seed=5)
    assert layer.edges == create("topology", name, k=4).edges(10, 10, segments=segments, seed=5)
    assert not (layer.edges.target == layer.edges.source).any()
    fan_in = np.minimum(4, np.repeat(segments or [10], segments or [10]) - 1)
    assert (layer.edges.mask().sum(1) == fan_in).all()
    assert layer.searching == (name == "learnable_watts_strogatz" or len(segments or [10]) > 1)
    layer(torch.randn(3, 10)).sum().backward()
    layer.freeze()
    assert layer(torch.randn(3, 10)).shape == (3, 10)


@pytest.mark.parametrize("beta", [0, 1, 1.0, -0.1, True, "half"])
def test_a_start_that_cannot_move_is_refused(beta: Any) -> None:
    with pytest.raises(ValueError, match="beta must"):
        create("topology", "learnable_watts_strogatz", beta=beta)


@pytest.mark.parametrize("name", ["learnable_watts_strogatz", "learnable_budgets"])
def test_learnable_topologies_keep_the_contract(name: str) -> None:
    check_component("topology", name)


def test_the_temperature_falls_linearly_over_four_fifths_of_the_search_and_slower_after() -> None:
    layer = layer_of(BETA)
    points = np.array([0, 0.2, 0.4, 0.8, 0.9, 1])
    found = []
    for progress in points:
        layer.anneal(progress)
        found.append(layer.relaxation.temperature.item())
    assert np.allclose(found, [0.7, 0.55, 0.4, 0.1, 0.065, 0.03])
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        layer.anneal(1.5)


def test_a_cold_search_computes_nearly_the_exact_graph() -> None:
    layer = layer_of(BETA)
    layer.relaxation.temperature.fill_(1e-6)
    x = torch.randn(4, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x), exact_sum(layer, x))


def exact_sum(layer: SparseLinear, x: Tensor) -> Tensor:
    """Output on the exact graph, whose weights are those of the lattice edges that moved there."""
    twin = copy.deepcopy(layer)
    twin.freeze()
    return exact_output(twin, x)


@topologies
def test_frozen_is_a_plain_layer_on_the_exact_graph(topology: dict[str, Any]) -> None:
    layer = layer_of(topology)
    edges, beta, count = layer.edges, layer.beta.detach(), len(layer.weight)
    assert layer.beta.requires_grad
    assert sum(p.numel() for p in layer.parameters()) == count + 16 + layer.share_logits.numel()
    layer.freeze()
    assert not layer.searching
    assert layer.edges == edges
    assert len(layer.edges) == len(layer.weight) == count
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.wiring_parameters() == []
    assert torch.equal(layer.beta, beta)
    assert not layer.beta.requires_grad
    x = torch.randn(4, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(x), exact_output(layer, x))
    layer.freeze()
    layer.anneal(0.5)
    assert layer.edges == edges


@topologies
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_freezing_resets_the_moments_of_moved_edges_and_carries_the_others(
    topology: dict[str, Any], kind: type[torch.optim.Optimizer]
) -> None:
    layer = layer_of(topology)
    settings = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(parameter_groups(layer, 1e-2, 0.1), **settings)
    x = torch.randn(32, 16, dtype=torch.float64)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).pow(2).mean().backward()
        optimizer.step()
    name = "momentum_buffer" if kind is torch.optim.SGD else "exp_avg_sq"
    # By the edge where they are: the lattice's before, the exact graph's after.
    before = dict(zip(ends_of(layer), optimizer.state[layer.weight][name].tolist(), strict=True))
    layer.freeze(optimizer)
    after = dict(zip(ends_of(layer), optimizer.state[layer.weight][name].tolist(), strict=True))
    assert 0 < len(before.keys() & after.keys()) < len(after)
    assert after == {edge: before.get(edge, 0.0) for edge in after}
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert known == {id(p) for p in layer.parameters()}
    optimizer.zero_grad()
    layer(x).pow(2).mean().backward()
    optimizer.step()


def ends_of(layer: SparseLinear) -> list[tuple[int, int]]:
    return list(zip(layer.target.tolist(), layer.source.tolist(), strict=True))


def test_edges_cannot_be_changed_during_the_search() -> None:
    layer = layer_of(BETA)
    none = torch.zeros(len(layer.weight), dtype=torch.bool)
    for change in (lambda: layer.set_edges(layer.edges, layer.weight), lambda: layer.rewire(none)):
        with pytest.raises(ValueError, match=r"call freeze\(\)"):
            change()


@topologies
@pytest.mark.parametrize("saved_frozen", [True, False])
@pytest.mark.parametrize("into_frozen", [True, False])
def test_a_state_decides_whether_its_layer_searches(
    topology: dict[str, Any], saved_frozen: bool, into_frozen: bool
) -> None:
    layer = layer_of(topology, torch.float32)
    with torch.no_grad():
        layer.share_logits.add_(0.7)
    other = SparseLinear(16, 16, topology, segments=SEGMENTS, seed=9)
    for one, frozen in ((layer, saved_frozen), (other, into_frozen)):
        if frozen:
            one.freeze()
    other.load_state_dict(load(save(layer.state_dict())))
    x = torch.randn(4, 16)
    assert torch.equal(other(x), layer(x))
    assert other.searching == (not saved_frozen)
    assert other.edges == layer.edges
    assert torch.equal(other.beta, layer.beta)
    names = [[name for name, _ in one.named_parameters()] for one in (other, layer)]
    assert names[0] == names[1]  # by their order an optimiser's state finds them
    other(x).sum().backward()


@pytest.mark.parametrize("beta", [0, 1, -0.1, math.nan, "low", None])
def test_a_search_that_cannot_begin_anew_goes_on(beta: Any) -> None:
    layer = layer_of(BETA, torch.float32)
    x = torch.randn(4, 16)
    before = layer(x)
    with pytest.raises(ValueError, match=f"beta must .*{beta}"):
        layer.restart(beta, seed=1)
    assert layer.searching
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("progress", [-0.1, 1.1, math.nan, "half", None])
def test_a_progress_that_is_no_share_is_refused(progress: Any) -> None:
    with pytest.raises(ValueError, match=f"progress must be a number between 0 and 1, not .*{progress}"):
        layer_of(BETA, torch.float32).anneal(progress)


@pytest.mark.parametrize("lost", ["share_logits", "relaxation.sources", "relaxation.temperature"])
def test_a_state_that_has_lost_a_part_of_its_search_is_refused(lost: str) -> None:
    state = layer_of(BETA, torch.float32).state_dict()
    del state[lost]
    with pytest.raises(RuntimeError, match=f"Missing key.*{lost}"):
        layer_of(BETA, torch.float32).load_state_dict(state)


def test_an_ordinary_layer_has_no_beta_and_loads_into_a_learnable_one() -> None:
    plain = SparseLinear(16, 16, {"ring": {"k": 4}})
    assert plain.beta is None
    assert plain.budgets is None
    assert not plain.searching
    layer = layer_of(BETA, torch.float32)
    layer.load_state_dict(plain.state_dict())
    assert not layer.searching
    assert layer.beta is None
    assert layer.edges == plain.edges


def test_a_searching_layer_copies_and_pickles() -> None:
    layer = layer_of(BETA)
    x = torch.randn(2, 16, dtype=torch.float64)
    y = layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for twin in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(twin(x), y)


@pytest.mark.parametrize("search_phase", [0.5, 0.0, 1.0])
@topologies
def test_a_network_searches_freezes_and_reports_its_wiring(
    toy: Any, topology: dict[str, Any], search_phase: float
) -> None:
    load_plugins([toy])
    dataset = load_dataset("toy")
    architecture = {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {"small_world": {"layers": 2, "topology": topology}},
        "fusion": {"concat": {}},
        "head": {"linear": {}},
    }
    training = Training(epochs=4, batch_size=8, search_phase=search_phase)
    evaluator = Evaluator(dataset, ["accuracy"], training)
    evaluation = evaluator(Architecture(architecture), seed=0)
    layers = evaluation.network.connector.layers
    assert not any(layer.searching for layer in layers)
    kind = "beta" if topology is BETA else "budgets"
    key = f"{kind}/connector.layers.0" + "/0/1" * (kind == "budgets")
    course = [epoch[key] for epoch in evaluation.epochs]
    started = 0.3 if kind == "beta" else 0.4
    frozen = round(4 * search_phase)
    assert len(set(course[:frozen])) == frozen
    assert len(set(course[max(frozen - 1, 0) :])) == 1
    assert frozen or course[0] == pytest.approx(started)
    learned = layers[0].beta if kind == "beta" else layers[0].budgets[0, 1]
    assert course[-1] == learned.item()
    reports_gap = ["soft_to_hard_gap" in epoch for epoch in evaluation.epochs]
    assert reports_gap == [number >= min(frozen + 1, 4) for number in range(1, 5)]
    # What a report does with the weights of a finished trial.
    rebuilt = build(Architecture(architecture), dataset.modalities, dataset.task)
    assert rebuilt.connector.layers[0].searching
    state = {name: value.contiguous() for name, value in evaluation.network.state_dict().items()}
    rebuilt.load_state_dict(load(save(state)))
    batch = dataset.splits["validation"].batch(torch.arange(16))
    one, other = (net.eval()(batch.inputs, batch.masks) for net in (evaluation.network, rebuilt))
    assert torch.equal(one, other)
    assert rebuilt.connector.layers[0].edges == layers[0].edges


def test_the_soft_to_hard_gap_is_the_loss_after_freezing_minus_that_before() -> None:
    layer = layer_of(BETA)
    x, wanted = torch.randn(2, 32, 16, dtype=torch.float64)

    def loss() -> float:
        with torch.no_grad():
            return (layer(x) - wanted).pow(2).mean().item()

    wiring = Wiring(layer, torch.optim.AdamW(parameter_groups(layer, 1e-2, 0.0)), Plan(1, 1, 1), 0, loss)
    assert "soft_to_hard_gap" not in wiring.metrics()
    soft = loss()
    wiring.finish()
    assert wiring.metrics()["soft_to_hard_gap"] == pytest.approx(loss() - soft)
    assert abs(loss() - soft) > 1e-4


def test_a_rewiring_rule_takes_over_after_the_search_and_beta_stays() -> None:
    layer = layer_of(BETA, rewiring="set")
    optimizer = torch.optim.AdamW(parameter_groups(layer, 1e-2, 0.0))
    wiring = Wiring(layer, optimizer, Plan(2, 4, search_steps=3), seed=0)
    edges, betas = [], []
    for step in range(8):
        wiring.before_step(step)
        assert layer.searching == (step < 3)
        optimizer.zero_grad()
        layer(torch.randn(8, 16, dtype=torch.float64)).pow(2).mean().backward()
        optimizer.step()
        wiring.after_step(step)
        edges.append(layer.edges)
        betas.append(wiring.metrics()["beta/"])
    assert len(set(betas[:3])) == 3
    assert len(set(betas[2:])) == 1
    assert edges[3] != edges[7]
    assert len(edges[7]) == len(edges[0])


def test_shares_have_an_optimiser_group_without_weight_decay() -> None:
    layer = layer_of(BETA)
    weights, shares = parameter_groups(layer, 1e-3, 0.1)
    assert shares["params"] == [layer.share_logits]
    assert shares["weight_decay"] == 0
    assert {id(p) for p in weights["params"]} == {id(layer.weight), id(layer.bias)}
    assert len(parameter_groups(SparseLinear(8, 8, "ring"), 1e-3, 0.1)) == 1


def learned_betas(detached: bool) -> list[float]:
    """Beta learned from .1 and from .9; inputs resemble their neighbours, and the target reads them all."""
    units, steps = 64, 400
    distance = np.abs(np.subtract.outer(np.arange(units), np.arange(units)))
    distance = np.minimum(distance, units - distance)
    covariance = np.exp(-(distance**2) / 18) + 0.05 * np.eye(units)
    matrix = np.random.default_rng(0).standard_normal((units, units))
    matrix /= np.sqrt(np.einsum("oi,ij,oj->o", matrix, covariance, matrix))[:, None]
    root, target = (torch.tensor(map_).float() for map_ in (np.linalg.cholesky(covariance), matrix))
    found = []
    for start in (0.1, 0.9):
        torch.manual_seed(0)
        layer = SparseLinear(units, units, {"learnable_watts_strogatz": {"k": 8, "beta": start}})
        optimizer = torch.optim.AdamW(parameter_groups(layer, 2e-2, 0.0))
        wiring = Wiring(layer, optimizer, Plan(steps, 1, steps), 0)
        layer.share_logits.requires_grad_(not detached)
        for step in range(steps):
            wiring.before_step(step)
            x = torch.randn(64, units) @ root.t()
            optimizer.zero_grad()
            (layer(x) - x @ target.t()).pow(2).mean().backward()
            optimizer.step()
        wiring.finish()
        found.append(layer.beta.item())
    return found


@pytest.mark.parametrize("detached", [False, True])
def test_two_starts_learn_the_same_beta_unless_it_is_detached(detached: bool) -> None:
    found = learned_betas(detached)
    verdict = identifiability(found)
    assert verdict.identifiable == (not detached)
    if detached:
        assert found == pytest.approx([0.1, 0.9])
    else:
        assert verdict.spread <= 0.1
        assert min(found) > 0.6  # a far-reaching target wants random sources


def test_results_that_differ_by_more_than_a_fifth_are_not_identifiable() -> None:
    assert str(identifiability([0.31, 0.28, 0.45])) == "identifiable"
    assert str(identifiability([0.31, 0.28, 0.55])) == "not identifiable"
    one, other = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.8, 0.2], [0.2, 0.8]])
    assert identifiability([one, other]).spread == pytest.approx(0.3)
    with pytest.raises(ValueError, match="at least two"):
        identifiability([0.5])
