"""Fusions compute their formulas, and what is absent has no influence."""

import ast
import inspect
import itertools
import sys

import pytest
import torch
from torch import Tensor, nn

import nas

D = 8
FIRST = ["early", "late", "hybrid", "cross_modal"]
SECOND = ["concat", "gate", "sigmoid_gate", "attention"]
EQUAL_WIDTHS = ["gate", "sigmoid_gate", "attention", "cross_modal"]
ALIGNED = ["sum", "mean", "max", "product", "weighted_sum", "tree"]
WEIGHTED = ["late", "gate", "sigmoid_gate", "attention", "weighted_sum", "gmu", "mmtm"]
WITHOUT_PARAMETERS = ["concat", "sum", "mean", "max", "product"]
FUSIONS = [
    name
    for name in nas.available("fusion")
    if nas.get("fusion", name).consumes == "vectors" and name != "small_world"
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def fusion(name: str, count: int = 3, **settings) -> nn.Module:
    """A fusion of `count` modalities (two for `sigmoid_gate`) with parameters that are not zero."""
    module = nas.create("fusion", name, [D] * count_of(name, count), **settings)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def count_of(name: str, count: int = 3) -> int:
    return min(count, 2) if name == "sigmoid_gate" else count


def vectors(count: int, batch: int = 5, width: int = D) -> list[Tensor]:
    return [torch.randn(batch, width) for _ in range(count)]


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0)


def affine(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.einsum("oi,bi->bo", layer.weight, x) + layer.bias


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- formulas ---------------------------------------------------------------------------------------


def test_early_is_a_network_on_the_concatenation():
    module = nas.create("fusion", "early", [4, 6], hidden=5, out_dim=3)
    h1, h2 = torch.randn(5, 4), torch.randn(5, 6)
    expected = affine(module.linear2, relu(affine(module.linear1, torch.cat([h1, h2], 1))))
    assert_equal(module([h1, h2]), expected)
    assert parameters(module) == (10 * 5 + 5) + (5 * 3 + 3)


def test_late_is_a_weighted_mean_of_heads():
    module = nas.create("fusion", "late", [4, 6, 5], out_dim=3)
    features = [torch.randn(5, width) for width in (4, 6, 5)]
    nn.init.normal_(module.scores)
    weights = module.scores.exp() / module.scores.exp().sum()
    expected = sum(weights[m] * affine(module.heads[m], features[m]) for m in range(3))
    fused, gates = module(features, return_gates=True)
    assert_equal(fused, expected)
    assert_equal(gates["weights"], weights[:, None].expand(3, 5))
    assert parameters(module) == (4 + 6 + 5) * 3 + 3 * 3 + 3


def test_late_starts_from_equal_weights():
    module = nas.create("fusion", "late", [D] * 4)
    assert module.scores.tolist() == [0.25] * 4


@pytest.mark.parametrize("count", [1, 2, 4])
def test_hybrid_refines_each_modality_first(count):
    module = fusion("hybrid", count, hidden=7, out_dim=3)
    features = vectors(count)
    refined = [relu(affine(module.refine[m], features[m])) for m in range(count)]
    expected = affine(module.linear2, relu(affine(module.linear1, torch.cat(refined, 1))))
    assert_equal(module(features), expected)
    assert parameters(module) == count * (D * D + D) + (count * D * 7 + 7) + (7 * 3 + 3)


def textbook_attention(module: nn.Module, pair: int, heads: int) -> nn.MultiheadAttention:
    """MHA_ab with the module's values and outputs, and query and key projections at random."""
    attention = nn.MultiheadAttention(D, heads, batch_first=True)
    with torch.no_grad():
        nn.init.normal_(attention.in_proj_bias)
        attention.in_proj_weight[2 * D :] = module.value_weight[pair]
        attention.in_proj_bias[2 * D :] = module.value_bias[pair]
        attention.out_proj.weight.copy_(module.out_weight[pair])
        attention.out_proj.bias.copy_(module.out_bias[pair])
    return attention


@pytest.mark.parametrize(("count", "heads"), [(2, 4), (3, 4), (3, 2), (4, 1)])
def test_cross_modal_is_the_textbook_attention_of_all_ordered_pairs(count, heads):
    module = fusion("cross_modal", count, heads=heads, out_dim=3)
    features = vectors(count)
    enriched = [feature.clone() for feature in features]
    textbook = parameters(module.linear)
    for pair, (a, b) in enumerate(itertools.permutations(range(count), 2)):
        attention = textbook_attention(module, pair, heads)
        key = features[b][:, None]
        enriched[a] = enriched[a] + attention(features[a][:, None], key, key)[0][:, 0]
        textbook += parameters(attention)
    assert_equal(module(features), affine(module.linear, torch.cat(enriched, 1)))
    assert module.textbook_parameters == textbook
    assert parameters(module) == textbook - count * (count - 1) * 2 * (D * D + D)


def test_concat_lays_the_modalities_side_by_side():
    module = nas.create("fusion", "concat", [4, 6])
    h1, h2 = torch.randn(5, 4), torch.randn(5, 6)
    fused = module([h1, h2])
    assert (module.out_dim, parameters(module)) == (10, 0)
    assert torch.equal(fused[:, :4], h1)
    assert torch.equal(fused[:, 4:], h2)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_gate_weighs_every_dimension_by_a_softmax_over_modalities(count):
    module = fusion("gate", count)
    features = vectors(count)
    exponentials = [affine(module.gates[m], features[m]).exp() for m in range(count)]
    weights = torch.stack([e / sum(exponentials) for e in exponentials])
    fused, gates = module(features, return_gates=True)
    assert_equal(gates["weights"], weights)
    assert_equal(fused, torch.einsum("mbd,mbd->bd", weights, torch.stack(features)))
    assert parameters(module) == count * (D * D + D)


def test_sigmoid_gate_blends_two_modalities():
    module = fusion("sigmoid_gate")
    h1, h2 = vectors(2)
    z = 1 / (1 + (-affine(module.gate, torch.cat([h1, h2], 1))).exp())
    fused, gates = module([h1, h2], return_gates=True)
    assert_equal(fused, z * h1 + (1 - z) * h2)
    assert_equal(gates["weights"], torch.stack([z, 1 - z]))
    assert parameters(module) == 2 * D * D + D


@pytest.mark.parametrize(("count", "heads"), [(2, None), (3, None), (3, 1), (4, 2)])
def test_attention_is_the_mean_of_normalised_self_attention(count, heads):
    module = fusion("attention", count, heads=heads)
    theirs = nn.MultiheadAttention(D, heads or 4, batch_first=True)
    theirs.load_state_dict(module.attention.state_dict())
    stacked = torch.stack(vectors(count), 1)
    attended, weights = theirs(stacked, stacked, stacked)
    total = attended + stacked
    centred = total - total.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = (normed * module.norm.weight + module.norm.bias).mean(1)
    fused, gates = module(list(stacked.unbind(1)), return_gates=True)
    assert_equal(fused, expected)
    assert_equal(gates["weights"], weights)
    assert parameters(module) == 4 * D * D + 6 * D


@pytest.mark.parametrize("name", SECOND + ALIGNED)
def test_one_modality_passes_through_unchanged(name):
    module = nas.create("fusion", name, [D])
    [feature] = vectors(1)
    fused, gates = module([feature], return_gates=True)
    assert fused is feature
    assert gates == {"type": "identity", "weights": None}
    assert (module.out_dim, parameters(module)) == (D, 0)


@pytest.mark.parametrize("name", FIRST)
def test_out_dim_is_that_of_the_first_modality_unless_asked_for(name):
    assert nas.create("fusion", name, [D] * 3).out_dim == D
    module = nas.create("fusion", name, [D] * 3, out_dim=3)
    assert module(vectors(3)).shape == (5, module.out_dim) == (5, 3)


@pytest.mark.parametrize("name", FUSIONS)
def test_gates_bear_the_name_of_the_fusion(name):
    fused, gates = fusion(name)(vectors(count_of(name)), return_gates=True)
    assert gates["type"] == name
    assert (gates["weights"] is None) == (name not in WEIGHTED)
    assert isinstance(fused, Tensor)


# --- absent modalities ------------------------------------------------------------------------------


def subsets(count: int) -> Tensor:
    return torch.tensor(list(itertools.product([False, True], repeat=count)))


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_the_features_of_an_absent_modality_do_not_matter(name, value):
    module, present = fusion(name), subsets(count_of(name))
    features = vectors(count_of(name), len(present))
    changed = [torch.where(present[:, m, None], feature, value) for m, feature in enumerate(features)]
    expected, actual = (module(given, present, return_gates=True) for given in (features, changed))
    assert torch.equal(actual[0], expected[0])
    assert actual[0].isfinite().all()
    if expected[1]["weights"] is not None:
        assert torch.equal(actual[1]["weights"], expected[1]["weights"])


@pytest.mark.parametrize("name", FUSIONS)
def test_absent_nan_leaves_all_gradients_finite(name):
    module, present = fusion(name), subsets(count_of(name))
    features = [
        torch.where(present[:, m, None], torch.randn(len(present), D), float("nan")).requires_grad_()
        for m in range(count_of(name))
    ]
    module(features, present).square().sum().backward()
    for leaf in [*module.parameters(), *features]:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("name", FUSIONS)
def test_all_present_is_exactly_present_none(name):
    module, features = fusion(name), vectors(count_of(name), 33)
    everywhere = torch.ones(33, len(features), dtype=torch.bool)
    (fused, gates), (expected, expected_gates) = (
        module(features, present, return_gates=True) for present in (everywhere, None)
    )
    assert torch.equal(fused, expected)
    if gates["weights"] is not None:
        assert torch.equal(gates["weights"], expected_gates["weights"])


@pytest.mark.parametrize("name", ["gate", "attention", "late"])
def test_with_a_modality_absent_a_weighted_fusion_is_that_of_the_others(name):
    module, features = fusion(name), vectors(3)
    smaller = nas.create("fusion", name, [D] * 2)
    state = module.state_dict()
    if name == "gate":
        state = {key.replace(".2.", ".1."): state[key] for key in state if ".1." not in key}
    if name == "late":
        state = {key.replace(".2.", ".1."): state[key] for key in state if ".1." not in key}
        state["scores"] = state["scores"][[0, 2]]
    smaller.load_state_dict(state)
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    assert_equal(module(features, present), smaller([features[0], features[2]]))


@pytest.mark.parametrize("name", ["gate", "sigmoid_gate"])
def test_a_modality_alone_weighs_one(name):
    module, features = fusion(name, 2), vectors(2)
    fused, gates = module(features, torch.tensor([[False, True]]).expand(5, 2), return_gates=True)
    assert torch.equal(fused, features[1])
    assert torch.equal(gates["weights"], torch.stack([torch.zeros(5, D), torch.ones(5, D)]))


@pytest.mark.parametrize("name", ["early", "concat"])
def test_a_concatenation_sees_zeros_for_an_absent_modality(name):
    module, features = fusion(name), vectors(3)
    expected = module([features[0], torch.zeros(5, D), features[2]])
    assert_equal(module(features, torch.tensor([[True, False, True]]).expand(5, 3)), expected)


def test_cross_modal_sends_nothing_from_or_to_an_absent_modality():
    module, features = fusion("cross_modal", out_dim=3), vectors(3)
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    enriched = [features[0], torch.zeros(5, D), features[2]]
    for pair, (a, b) in enumerate(module.pairs):
        if 1 not in (a, b):
            values = features[b] @ module.value_weight[pair].T + module.value_bias[pair]
            enriched[a] = enriched[a] + values @ module.out_weight[pair].T + module.out_bias[pair]
    assert_equal(module(features, present), affine(module.linear, torch.cat(enriched, 1)))


def test_attention_reports_no_weight_from_or_to_an_absent_modality():
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    weights = fusion("attention")(vectors(3), present, return_gates=True)[1]["weights"]
    assert not weights[:, 1].any()
    assert not weights[:, :, 1].any()
    torch.testing.assert_close(weights[:, [0, 2]].sum(-1), torch.ones(5, 2))


@pytest.mark.parametrize("name", FUSIONS)
def test_nan_of_a_present_modality_propagates_to_its_sample_alone(name):
    module, features = fusion(name), vectors(count_of(name))
    features[1][2, 3] = float("nan")
    fused = module(features, torch.ones(5, len(features), dtype=torch.bool))
    assert fused.isnan().any(1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches_keep_their_axis(name, batch):
    module, features = fusion(name), vectors(count_of(name), batch)
    for present in (None, torch.ones(batch, len(features), dtype=torch.bool)):
        assert module(features, present).shape == (batch, module.out_dim)


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUSIONS)
def test_a_wrong_number_of_vectors_names_the_modality_and_both_numbers(name):
    count = count_of(name)
    with pytest.raises(ValueError, match=rf"modality {count - 1} is missing: given {count - 1} .* {count}$"):
        fusion(name)(vectors(count - 1))
    with pytest.raises(ValueError, match=rf"modality {count} is one too many: given {count + 1} .* {count}$"):
        fusion(name)(vectors(count + 1))
    with pytest.raises(ValueError, match="modality 0 is missing"):
        fusion(name)([])


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, D + 1), rf"modality 1 is {D + 1} wide.*{D}"),
        ((5, 1, D), r"modality 1 has rank 3.*rank 2"),
        ((D,), r"modality 1 has rank 1.*rank 2"),
        ((4, D), r"modality 1 has a batch of 4, modality 0 one of 5"),
    ],
)
def test_a_wrong_vector_names_the_modality_and_both_numbers(name, shape, message):
    features = vectors(count_of(name))
    features[1] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        fusion(name)(features)


@pytest.mark.parametrize("shape", [(D,), (5, 1, D)])
def test_a_wrong_rank_of_the_first_modality_is_named_as_such(shape):
    with pytest.raises(ValueError, match="modality 0 has rank"):
        fusion("gate")([torch.zeros(shape), *vectors(2)])


@pytest.mark.parametrize("name", EQUAL_WIDTHS)
def test_widths_that_differ_are_refused_where_they_must_not(name):
    with pytest.raises(ValueError, match="modality 1 is 6 wide, modality 0 is 8 wide"):
        nas.create("fusion", name, [8, 6])


@pytest.mark.parametrize("name", ["attention", "cross_modal"])
def test_heads_that_do_not_divide_are_refused_with_both_numbers(name):
    with pytest.raises(ValueError, match="3 heads do not divide the width 8"):
        nas.create("fusion", name, [8, 8], heads=3)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("sigmoid_gate", 3, "sigmoid_gate takes 1 to 2 modalities, not 3"),
        ("cross_modal", 1, "cross_modal takes at least 2 modalities, not 1"),
        ("gate", 0, "gate takes at least 1 modalities, not 0"),
    ],
)
def test_a_number_of_modalities_it_does_not_take_is_refused(name, count, message):
    with pytest.raises(ValueError, match=message):
        nas.create("fusion", name, [D] * count)


@pytest.mark.parametrize("present", [torch.ones(5, 2, dtype=torch.bool), torch.ones(5, 3)])
def test_present_of_another_shape_or_type_is_refused(present):
    with pytest.raises(ValueError, match=r"present must be bool of shape \(5, 3\)"):
        fusion("late")(vectors(3), present)


@pytest.mark.parametrize("name", FUSIONS)
def test_no_check_is_an_assert_that_python_o_would_drop(name):
    classes = [c for c in nas.get("fusion", name).__mro__ if c.__module__.startswith("nas.")]
    for module in {sys.modules[c.__module__] for c in classes}:
        assert not any(
            isinstance(node, ast.Assert) for node in ast.walk(ast.parse(inspect.getsource(module)))
        )


# --- use in the engine ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in FUSIONS if name not in WITHOUT_PARAMETERS])
def test_fusions_train_side_by_side_as_they_do_alone(name):
    modules, features = [fusion(name) for _ in range(2)], vectors(count_of(name))
    stacked, buffers = torch.func.stack_module_state(modules)

    def loss(state, buffers):
        return torch.func.functional_call(modules[0], (state, buffers), (features,)).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss))(stacked, buffers)
    for index, module in enumerate(modules):
        module(features).square().sum().backward()
        for key, parameter in module.named_parameters():
            torch.testing.assert_close(gradients[key][index], parameter.grad, rtol=1e-4, atol=1e-4)
