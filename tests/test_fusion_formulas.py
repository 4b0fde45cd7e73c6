"""Each fusion of the catalogue computes its formula, here written out sample by sample.

A sample is given what is there alone: neither absent modalities nor padding appear in a reference.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import nas
from nas.attention import TransformerLayer

D = 8
SUBSETS = torch.tensor(list(itertools.product([False, True], repeat=3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def fusion(name: str, dims=(4, 6, 5), **settings) -> nn.Module:
    """A fusion with parameters that are not zero."""
    module = nas.create("fusion", name, list(dims), **settings)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def vectors(dims=(4, 6, 5), batch=8) -> list[Tensor]:
    return [torch.randn(batch, width) for width in dims]


def affine(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = 0 if layer.bias is None else layer.bias
    return torch.einsum("oi,i->o", layer.weight, x) + bias


def concatenated(sample: dict[int, Tensor], dims=(4, 6, 5)) -> Tensor:
    return torch.cat([sample.get(m, torch.zeros(width)) for m, width in enumerate(dims)])


def samples(features: list[Tensor], present: Tensor = SUBSETS) -> list[dict[int, Tensor]]:
    """Of every sample the vectors of the modalities that are there."""
    return [{m: features[m][b] for m in range(len(features)) if there[m]} for b, there in enumerate(present)]


def assert_formula(module: nn.Module, formula, features: list[Tensor], present: Tensor = SUBSETS) -> None:
    """A module gives `formula(vectors that are there)` for every sample."""
    expected = torch.stack([formula(sample) for sample in samples(features, present)])
    torch.testing.assert_close(module(features, present), expected, rtol=1e-5, atol=2e-6)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sum", lambda h: sum(h, torch.zeros(D))),
        ("mean", lambda h: sum(h, torch.zeros(D)) / max(len(h), 1)),
        ("max", lambda h: torch.tensor([max((x[i].item() for x in h), default=0.0) for i in range(D)])),
        (
            "product",
            lambda h: torch.tensor([math.prod((x[i].item() for x in h), start=1.0) for i in range(D)]),
        ),
    ],
)
def test_elementwise_fusions_combine_what_is_there(name, formula):
    features = vectors((D, D, D))
    assert_formula(fusion(name, (D, D, D)), lambda sample: formula(list(sample.values())), features)
    module = fusion(name, (4, 6, D), out_dim=D)
    projected = lambda sample: formula([p(h) for m, h in sample.items() for p in [module.project[m]]])  # noqa: E731
    assert_formula(module, projected, vectors((4, 6, D)))
    assert parameters(module) == 4 * D + D + 6 * D + D


def test_weighted_sum_is_an_average_with_learned_weights():
    module = fusion("weighted_sum", (D, D, D))
    exponentials = module.scores.exp()

    def formula(sample):
        total = sum(exponentials[m] for m in sample)
        return sum((exponentials[m] / total * h for m, h in sample.items()), torch.zeros(D))

    assert_formula(module, formula, vectors((D, D, D)))
    weights = module(vectors((D, D, D)), SUBSETS, return_gates=True)[1]["weights"]
    torch.testing.assert_close(weights.sum(0)[1:], torch.ones(7))


def test_gmu_gates_a_hidden_vector_of_each_modality():
    module = fusion("gmu", out_dim=D)

    def formula(sample):
        gates = sigmoid(affine(module.gates, concatenated(sample)))
        terms = [gates[m * D : (m + 1) * D] * affine(module.hidden[m], h).tanh() for m, h in sample.items()]
        return sum(terms, torch.zeros(D))

    assert_formula(module, formula, vectors())
    assert parameters(module) == (15 * D) + (15 * 3 * D)


def test_gmu_of_two_modalities_shares_one_gate():
    module = fusion("gmu", (4, 6), out_dim=D)

    def formula(sample):
        z = sigmoid(affine(module.gates, concatenated(sample, (4, 6))))
        hidden = {m: affine(module.hidden[m], h).tanh() for m, h in sample.items()}
        if len(hidden) == 2:
            return z * hidden[0] + (1 - z) * hidden[1]
        return sum(hidden.values(), torch.zeros(D))

    assert_formula(module, formula, vectors((4, 6), 4), SUBSETS[:4, 1:])


@pytest.mark.parametrize(("entries", "widths"), [(8, (1, 1, 1)), (64, (3, 3, 3)), (4096, (4, 6, 5))])
def test_tensor_multiplies_every_feature_with_every_other(entries, widths):
    module = fusion("tensor", entries=entries, out_dim=3)
    assert [layer.out_features for layer in module.reduce] == list(widths)
    assert module.linear.in_features == math.prod(width + 1 for width in widths) <= entries

    def formula(sample):
        one = torch.ones(1)
        rest = {m: torch.zeros(widths[m]) for m in range(3)} | {
            m: affine(module.reduce[m], h) for m, h in sample.items()
        }
        a, b, c = (torch.cat([one, rest[m]]) for m in range(3))
        return affine(module.linear, torch.einsum("i,j,k->ijk", a, b, c).flatten())

    assert_formula(module, formula, vectors())


def test_too_few_entries_for_the_modalities_are_refused_with_the_least_number():
    with pytest.raises(ValueError, match="4 modalities need at least 16 entries, not 8"):
        nas.create("fusion", "tensor", [4] * 4, entries=8)
    assert nas.create("fusion", "tensor", [4] * 6, entries=64).linear.in_features == 64


@pytest.mark.parametrize("rank", [1, 5])
def test_low_rank_tensor_is_tensor_fusion_with_the_weight_that_its_factors_span(rank):
    module = fusion("low_rank_tensor", rank=rank, out_dim=3)
    full = torch.einsum("r,rio,rjo,rko->oijk", module.weights, *module.factors)

    def formula(sample):
        padded = [torch.cat([torch.ones(1), sample.get(m, torch.zeros(d))]) for m, d in enumerate((4, 6, 5))]
        return torch.einsum("oijk,i,j,k->o", full, *padded) + module.bias

    assert_formula(module, formula, vectors())
    assert parameters(module) == rank * (5 + 7 + 6) * 3 + rank + 3


def test_low_rank_factors_learn():
    module = fusion("low_rank_tensor", rank=2)
    module(vectors()).square().sum().backward()
    assert all(factor.grad.abs().sum() > 0 for factor in module.factors)


def test_mfb_pools_products_and_normalises():
    module = fusion("bilinear", variant="mfb", rank=2, out_dim=3)

    def formula(sample):
        factors = [affine(module.factors[m], h) for m, h in sample.items()]
        product = [math.prod((f[i].item() for f in factors), start=1.0) for i in range(6)]
        pooled = [product[i] + product[3 + i] for i in range(3)]
        powered = torch.tensor([math.copysign(math.sqrt(abs(s)), s) for s in pooled])
        return powered / powered.square().sum().sqrt()

    features = vectors()
    expected = torch.stack([formula(sample) for sample in samples(features)])
    torch.testing.assert_close(module(features, SUBSETS), expected, rtol=0, atol=1e-3)


def test_mutan_sums_products_of_compressed_vectors():
    module = fusion("bilinear", variant="mutan", rank=2, out_dim=3)

    def formula(sample):
        factors = [affine(module.factors[m], affine(module.compress[m], h).tanh()) for m, h in sample.items()]
        product = [math.prod((f[i].item() for f in factors), start=1.0) for i in range(6)]
        return affine(module.linear, torch.tensor([product[i] + product[3 + i] for i in range(3)]))

    assert_formula(module, formula, vectors())


def test_an_unknown_variant_of_bilinear_is_refused():
    with pytest.raises(ValueError, match="'mcb' is no variant of bilinear; allowed: mfb, mutan"):
        nas.create("fusion", "bilinear", [4, 4], variant="mcb")


def test_multiplicative_is_a_bilinear_form_of_every_pair_and_a_linear_one():
    module = fusion("multiplicative", out_dim=3)

    def formula(sample):
        fused = affine(module.linear, concatenated(sample))
        for (a, b), weight in zip([(0, 1), (0, 2), (1, 2)], module.products, strict=True):
            if a in sample and b in sample:
                fused = fused + nn.functional.bilinear(sample[a], sample[b], weight)
        return fused

    assert_formula(module, formula, vectors())
    assert parameters(module) == 3 * (4 * 6 + 4 * 5 + 6 * 5 + 15) + 3


def test_mmtm_excites_each_modality_by_what_all_say():
    module = fusion("mmtm", reduction=4)
    assert module.squeeze.out_features == 15 // 4

    def formula(sample):
        joined = concatenated(sample)
        squeezed = affine(module.squeeze, joined).clamp(min=0)
        return 2 * sigmoid(affine(module.excite, squeezed)) * joined

    assert_formula(module, formula, vectors())
    module = fusion("mmtm", (D, D, D))
    fused, gates = module(features := vectors((D, D, D)), SUBSETS, return_gates=True)
    split = torch.stack(fused.split(D, 1))
    torch.testing.assert_close(split, gates["weights"] * torch.stack(features))


@pytest.mark.parametrize("condition", [0, 2])
def test_film_modulates_the_other_modalities_by_the_conditioning_one(condition):
    module = fusion("film", condition=condition, out_dim=D)

    def formula(sample):
        fused = torch.zeros(D)
        for place, m in enumerate(m for m in range(3) if m != condition):
            vector = affine(module.project[place], sample[m]) if m in sample else torch.zeros(D)
            scale, shift = torch.zeros(D), torch.zeros(D)
            if condition in sample:
                scale, shift = affine(module.modulate[place], sample[condition]).split(D)
            fused = fused + (1 + scale) * vector + shift
        return fused

    assert_formula(module, formula, vectors())


def test_a_modality_that_is_not_there_conditions_nothing():
    with pytest.raises(ValueError, match="no modality 3 to condition on; give 0 to 2"):
        nas.create("fusion", "film", [D] * 3, condition=3)


TREES = [
    ["add", ["mul", 0, 2], 1],
    ["cat", ["max", 0, 1], 2],
    ["mean", 0, ["cat", 1, 2]],
    ["cat", 1, ["cat", 0, 2]],
    ["max", ["mean", 0, 1], 2],
    ["mul", ["add", 1, 2], 0],
]


def tree_value(module: nn.Module, tree, sample: dict[int, Tensor], layers) -> Tensor | None:
    """The value of a canonical tree over what is there; None for nothing."""
    if isinstance(tree, int):
        return sample.get(tree)
    operator, (left, right) = tree[0], [tree_value(module, side, sample, layers) for side in tree[1:]]
    layer = next(layers) if operator == "cat" else None
    there = [value for value in (left, right) if value is not None]
    if not there:
        return None
    if layer is not None:
        sides = [torch.zeros(D) if value is None else value for value in (left, right)]
        return affine(layer, torch.cat(sides)).clamp(min=0)
    if len(there) == 1:
        return there[0]
    a, b = there
    return {"add": a + b, "mul": a * b, "max": torch.maximum(a, b), "mean": 0.5 * a + 0.5 * b}[operator]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_tree_combines_what_is_there_along_its_branches(tree):
    module = fusion("tree", (D, 6, D), expression=tree)
    assert len(module.layers) == str(tree).count("cat")

    def formula(sample):
        aligned = {m: module.project[m](h) for m, h in sample.items()}
        value = tree_value(module, module.expression, aligned, iter(module.layers))
        return torch.zeros(D) if value is None else value

    assert_formula(module, formula, vectors((D, 6, D)))


def test_the_order_of_a_trees_sides_makes_no_difference():
    torch.manual_seed(1)
    one = nas.create("fusion", "tree", [D] * 3, expression=["cat", ["mul", 2, 0], 1])
    torch.manual_seed(1)
    other = nas.create("fusion", "tree", [D] * 3, expression=["cat", 1, ["mul", 0, 2]])
    features = vectors((D, D, D))
    assert one.expression == ("cat", ("mul", 0, 2), 1)
    assert torch.equal(one(features), other(features))


@pytest.mark.parametrize("tree", [["add", 0, 1], ["add", 0, ["add", 1, 1]], ["sub", 0, ["add", 1, 2]], 0])
def test_a_tree_over_other_modalities_is_refused(tree):
    with pytest.raises(
        ValueError, match="is no expression here; allowed are trees of add, mul, cat, max, mean"
    ):
        nas.create("fusion", "tree", [D] * 3, expression=tree)


# --- tokens -----------------------------------------------------------------------------------------

LENGTHS = (3, 5, 2)


def token_batch(dims=(D, D, D)) -> tuple[list[Tensor], list[Tensor | None]]:
    """Tokens with masks; the last modality has none, and a sample is padding altogether."""
    tokens = [torch.randn(len(SUBSETS), length, d) for length, d in zip(LENGTHS, dims, strict=True)]
    masks: list[Tensor | None] = [torch.rand(values.shape[:2]) < 0.6 for values in tokens]
    assert masks[0] is not None
    masks[0][5] = False
    masks[2] = None
    return tokens, masks


def assert_token_formula(module: nn.Module, formula) -> None:
    """A module gives `formula(real tokens of the modalities that are there)` for every sample."""
    tokens, masks = token_batch(module.dims)
    expected = []
    for b, there in enumerate(SUBSETS):
        real = {
            m: module.project[m](values[b] if mask is None else values[b, mask[b]])
            for m, (values, mask) in enumerate(zip(tokens, masks, strict=True))
            if there[m]
        }
        expected.append(formula({m: values for m, values in real.items() if len(values)}))
    fused = module(tokens, SUBSETS, masks=masks)
    torch.testing.assert_close(fused, torch.stack(expected), rtol=1e-4, atol=1e-5)


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    return centred / deviation * layer.weight + layer.bias


def transform(layer: TransformerLayer, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The layer on one sample without padding, with torch's attention; no memory is no message."""
    theirs = nn.MultiheadAttention(D, layer.attention.heads, batch_first=True)
    theirs.load_state_dict(layer.attention.state_dict())
    keys = norm(layer.norm1, x if memory is None else memory)[None]
    weights = torch.zeros(1, len(x), 0)
    if keys.shape[1]:
        message, weights = theirs(norm(layer.norm1, x)[None], keys, keys)
        x = x + message[0]
    first, _, second = layer.mlp
    hidden = torch.nn.functional.gelu(norm(layer.norm2, x) @ first.weight.T + first.bias)
    return x + hidden @ second.weight.T + second.bias, weights[0]


def test_a_transformer_layer_is_that_of_torch():
    layer = TransformerLayer(D, heads=2, expansion=3)
    theirs = nn.TransformerEncoderLayer(
        D, 2, 3 * D, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    names = {
        "self_attn": "attention",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
        "norm1": "norm1",
        "norm2": "norm2",
    }
    ours = layer.state_dict()
    for key in (state := theirs.state_dict()):
        part, rest = key.split(".", 1)
        nn.init.normal_(ours[f"{names[part]}.{rest}"])
        state[key] = ours[f"{names[part]}.{rest}"]
    theirs.load_state_dict(state)
    tokens, keep = torch.randn(4, 5, D), torch.arange(5) < torch.tensor([[5], [3], [1], [4]])
    torch.testing.assert_close(
        layer(tokens, keep)[0], theirs(tokens, src_key_padding_mask=~keep), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_cross_attention_is_a_crossmodal_transformer_of_every_ordered_pair(layers):
    module = fusion("cross_attention", (D, 6, D), layers=layers, out_dim=3)

    def formula(real):
        means = []
        for (a, b), pair in zip(itertools.permutations(range(3), 2), module.layers, strict=True):
            stream = real.get(a, torch.zeros(0, D))
            for layer in pair:
                stream = (
                    transform(layer, stream, real.get(b, torch.zeros(0, D)))[0] if len(stream) else stream
                )
            means.append(stream.sum(0) / max(len(stream), 1))
        return affine(module.linear, torch.cat(means))

    assert_token_formula(module, formula)


@pytest.mark.parametrize("layers", [1, 3])
def test_bottleneck_exchanges_through_shared_tokens_alone(layers):
    module = fusion("bottleneck", (D, 6, D), bottlenecks=2, layers=layers, out_dim=3)

    def formula(real):
        shared, tokens = module.shared, dict(real)
        for layer in module.layers:
            seen = {m: transform(layer[m], torch.cat([own, shared]))[0] for m, own in tokens.items()}
            tokens = {m: values[:-2] for m, values in seen.items()}
            shared = sum((values[-2:] for values in seen.values()), torch.zeros(2, D)) / max(len(seen), 1)
        return affine(module.linear, norm(module.norm, shared.mean(0)))

    assert_token_formula(module, formula)


@pytest.mark.parametrize("layers", [1, 2])
def test_perceiver_reads_all_tokens_into_its_latents(layers):
    module = fusion("perceiver", (D, 6, D), latents=3, layers=layers, out_dim=3)

    def formula(real):
        latents = module.latents
        memory = torch.cat([torch.zeros(0, D), *(own + module.modality[m] for m, own in real.items())])
        for read, think in zip(module.reading, module.thinking, strict=True):
            latents = transform(think, transform(read, latents, memory)[0])[0]
        return affine(module.linear, norm(module.norm, latents.mean(0)))

    assert_token_formula(module, formula)


def test_perceiver_tells_what_share_of_its_attention_each_modality_gets():
    module = fusion("perceiver", (D, D, D), latents=3)
    tokens, masks = token_batch()
    weights = module(tokens, SUBSETS, return_gates=True, masks=masks)[1]["weights"]
    counts = torch.stack(
        [
            there * (len(values[0]) if mask is None else mask.sum(1))
            for values, mask, there in zip(tokens, masks, SUBSETS.T, strict=True)
        ]
    )
    assert weights.shape == (3, len(SUBSETS))
    assert torch.equal(weights == 0, counts == 0)
    torch.testing.assert_close(weights.sum(0), counts.any(0).float())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            torch.ones(8, 4, dtype=torch.bool),
            r"mask of modality 1 must be bool of shape \(8, 5\), not torch.bool of",
        ),
        (torch.ones(8, 5), r"mask of modality 1 must be bool of shape \(8, 5\), not torch.float32"),
    ],
)
def test_a_mask_that_does_not_fit_its_tokens_is_refused(mask, message):
    tokens, _ = token_batch()
    with pytest.raises(ValueError, match=message):
        fusion("perceiver", (D, D, D))(tokens, masks=[None, mask, None])


@pytest.mark.parametrize("name", ["cross_attention", "bottleneck", "perceiver"])
def test_vectors_are_no_tokens(name):
    with pytest.raises(
        ValueError, match=r"modality 0 has rank 2.*tokens have rank 3, shape \(batch, tokens, 8\)"
    ):
        fusion(name, (D, D, D))(vectors((D, D, D)))
