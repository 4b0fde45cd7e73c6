"""From an architecture to a network."""

import numpy as np
import pytest
import torch

import nas
from nas import Architecture, ModalitySpec, Task
from nas.space.assemble import assemble

TASK = Task("classification", ("low", "middle", "high"))
MODALITIES = {
    "image": ModalitySpec("image", (1, 8, 8)),
    "text": ModalitySpec("text", (5,), vocabulary=7),
    "audio": ModalitySpec("audio", (1, 8, 8)),
}
SLOTS = ("fusion", "connector", "head")
SMALL = {"dim": {"int": [16, 20]}}
ARCHITECTURE = {
    "dim": 8,
    "encoders": {
        "image": {"cnn": {"width": 4}},
        "text": {"attention": {"embedding": 8}},
        "audio": {"spectrogram_cnn": {"width": 4}},
    },
    "connector": {"small_world": {"layers": 2, "topology": {"watts_strogatz": {"k": 4}}}},
    "fusion": {"late": {}},
    "head": {"mlp": {"hidden": 6}},
}


def batch(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(size, 1, 8, 8, generator=generator),
        "text": torch.randint(1, 7, (size, 5), generator=generator),
        "audio": torch.randn(size, 1, 8, 8, generator=generator),
    }


def weights(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_architecture_and_seed_give_identical_weights_and_outputs():
    one = nas.build(ARCHITECTURE, MODALITIES, TASK, seed=3)
    torch.rand(7)
    other = nas.build(Architecture(ARCHITECTURE), MODALITIES, TASK, seed=3)
    assert same(weights(one), weights(other))
    assert torch.equal(one.eval()(batch(4)), other.eval()(batch(4)))


def test_the_weights_do_not_depend_on_key_order():
    turned = dict(reversed(ARCHITECTURE.items()))
    turned["encoders"] = dict(reversed(ARCHITECTURE["encoders"].items()))
    one, other = (nas.build(tree, MODALITIES, TASK, seed=3) for tree in (ARCHITECTURE, turned))
    assert same(weights(one), weights(other))


def test_different_seeds_give_different_weights():
    one, other = (weights(nas.build(ARCHITECTURE, MODALITIES, TASK, seed=seed)) for seed in (0, 1))
    assert not torch.equal(one["head.linear1.weight"], other["head.linear1.weight"])
    assert not torch.equal(one["encoders.image.conv1.weight"], other["encoders.image.conv1.weight"])


def test_building_leaves_torchs_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nas.build(ARCHITECTURE, MODALITIES, TASK, seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_building_changes_no_architecture():
    architecture = Architecture(ARCHITECTURE)
    before = architecture.id
    nas.build(architecture, MODALITIES, TASK)
    assert Architecture(architecture.to_data()).id == before


def drawn(space, count=60):
    """Random architectures in which the components of a slot take turns, so that each is met."""
    rng = np.random.default_rng(0)
    for turn in range(count):
        yield space.draw(
            lambda path, domain, turn=turn: (
                domain.options[turn % domain.size] if path in SLOTS else domain.sample(rng)
            )
        )


@pytest.mark.parametrize("chosen", [("image", "text", "audio"), ("text", "image"), ("image",)], ids=len)
def test_every_architecture_of_the_space_of_everything_builds_and_answers(chosen):
    modalities = {name: MODALITIES[name] for name in chosen}
    wider = {"dim": {"int": [17, 20]}}  # a ring with k = 16 neighbours needs more than 16 units
    space = assemble(SMALL if len(chosen) > 1 else wider, modalities)
    for seed, architecture in enumerate(drawn(space)):
        network = nas.build(architecture, modalities, TASK, seed).eval()
        for size in (1, 3):
            inputs = {name: values for name, values in batch(size).items() if name in chosen}
            outputs = network(inputs)
            assert outputs.shape == (size, 3), architecture
            assert outputs.isfinite().all(), architecture


def test_every_component_is_met_by_that_many_architectures():
    space = assemble(SMALL, MODALITIES)
    architectures = list(drawn(space, 200))
    for kind in SLOTS:
        met = {name for architecture in architectures for name in architecture.get(kind, ())}
        assert met == set(dict(space.domains())[kind])


def test_one_sample_is_treated_alike_alone_and_in_a_batch():
    network = nas.build(ARCHITECTURE, MODALITIES, TASK).eval()
    together = network(batch(3))
    for index in range(3):
        alone = network({name: values[index : index + 1] for name, values in batch(3).items()})
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


def test_the_order_of_the_inputs_is_that_of_the_names():
    network = nas.build(ARCHITECTURE, MODALITIES, TASK).eval()
    turned = dict(reversed(batch(3).items()))
    assert torch.equal(network(turned), network(batch(3)))


def fusions():
    return sorted(dict(assemble({}, MODALITIES).domains())["fusion"])


@pytest.mark.parametrize("connector", [{"none": {}}, {"small_world": {"topology": {"ring": {"k": 4}}}}])
@pytest.mark.parametrize("fusion", fusions())
def test_what_is_absent_may_be_nan_and_has_no_influence(fusion, connector):
    tree = ARCHITECTURE | {"fusion": {fusion: {}}, "connector": connector, "head": {"linear": {}}}
    network = nas.build(tree, MODALITIES, TASK)
    present = torch.tensor(
        [[True, True, True], [False, True, True], [True, True, False], [False, True, False]]
    )
    poisoned, other = batch(4), batch(4)
    for column, name in ((0, "image"), (2, "audio")):
        poisoned[name][~present[:, column]] = float("nan")
        other[name][~present[:, column]] = 7
    outputs = network(poisoned, present=present)
    assert outputs.isfinite().all()
    outputs.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert torch.equal(network(other, present=present), outputs)


@pytest.mark.parametrize("fusion", fusions())
def test_nothing_absent_is_the_same_as_no_mask_of_presence(fusion):
    network = nas.build(ARCHITECTURE | {"fusion": {fusion: {}}}, MODALITIES, TASK).eval()
    everything = torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(network(batch(4), present=everything), network(batch(4)))


def test_masked_tokens_have_no_influence():
    network = nas.build(ARCHITECTURE, MODALITIES, TASK).eval()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
    one, other = batch(3), batch(3)
    other["text"] = torch.where(mask, one["text"], 7 - one["text"])
    assert torch.equal(network(one, {"text": mask}), network(other, {"text": mask}))
    assert not torch.allclose(network(one), network(other))


class Tokens(torch.nn.Module):
    """The values themselves as tokens."""

    kinds = ("vector",)

    def __init__(self, spec, dim):
        super().__init__()

    def forward(self, x, mask=None):
        return x


class Pairs(Tokens):
    """A token for every two values, real where one of them is."""

    def forward(self, x, mask=None):
        return x.unflatten(1, (-1, 2)).mean(2)

    def token_mask(self, mask):
        return mask.unflatten(1, (-1, 2)).any(2)


@pytest.fixture
def token_network():
    """Networks over two modalities of tokens, (6, 4) and (3, 4), with a fusion of tokens."""
    registry = nas.registry._components["encoder"]
    registry |= {"tokens": Tokens, "pairs": Pairs}

    def make(fusion="perceiver", connector="none", x="tokens"):
        tree = {
            "dim": 4,
            "encoders": {"x": x, "y": "tokens"},
            "connector": connector,
            "fusion": fusion,
            "head": "linear",
        }
        specs = {"x": ModalitySpec("vector", (6, 4)), "y": ModalitySpec("vector", (3, 4))}
        return nas.build(tree, specs, TASK).eval()

    yield make
    del registry["tokens"], registry["pairs"]


def tokens(size=5):
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(size, count, 4, generator=rng) for name, count in (("x", 6), ("y", 3))}


def test_several_tokens_are_averaged_over_the_real_ones(token_network):
    network = token_network("concat")
    network.head = torch.nn.Identity()
    x, y = torch.arange(24.0).view(2, 3, 4), torch.zeros(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    expected = torch.stack([(x[0, 0] + x[0, 2]) / 2, torch.zeros(4)])
    torch.testing.assert_close(network({"x": x, "y": y}, {"x": mask})[:, :4], expected)
    torch.testing.assert_close(network({"x": x, "y": y})[:, :4], x.mean(1))


def test_a_fusion_of_tokens_gets_those_of_the_encoders_with_their_masks(token_network):
    network, given = token_network(), tokens()
    mask = torch.arange(6) < torch.tensor([6, 2, 1, 0, 4])[:, None]
    expected = network.head(network.fusion([given["x"], given["y"]], masks=[mask, None]))
    assert torch.equal(network(given, {"x": mask}), expected)
    assert not torch.allclose(network(given), expected)


def test_an_encoder_with_other_tokens_than_its_mask_says_which_are_real(token_network):
    network, given = token_network(x="pairs"), tokens()
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 0, 4])[:, None]
    pairs = given["x"].unflatten(1, (3, 2)).mean(2)
    real = torch.arange(3) < torch.tensor([3, 2, 1, 0, 2])[:, None]
    expected = network.head(network.fusion([pairs, given["y"]], masks=[real, None]))
    assert torch.equal(network(given, {"x": mask}), expected)


def test_a_fusion_of_tokens_gets_what_the_connector_adds(token_network):
    network, given = token_network(connector={"small_world": {"topology": {"ring": {"k": 2}}}}), tokens()
    pooled = [values.mean(1) for values in given.values()]
    added = [mixed - vector for mixed, vector in zip(network.connector(pooled), pooled, strict=True)]
    moved = [values + move[:, None] for values, move in zip(given.values(), added, strict=True)]
    torch.testing.assert_close(network(given), network.head(network.fusion(moved)))


@pytest.mark.parametrize("connector", ["none", {"small_world": {"topology": {"ring": {"k": 2}}}}])
@pytest.mark.parametrize("fusion", [f for f in fusions() if nas.get("fusion", f).consumes == "tokens"])
def test_padding_and_absent_tokens_may_be_nan_and_have_no_influence(token_network, fusion, connector):
    network, given = token_network(fusion, connector), tokens()
    mask = torch.arange(6) < torch.tensor([6, 2, 1, 0, 4])[:, None]
    present = torch.tensor([[1, 1], [1, 1], [0, 1], [1, 0], [0, 0]]).bool()
    outputs = network(given, {"x": mask}, present)
    other = {
        "x": given["x"].masked_fill(~(mask & present[:, :1])[..., None], float("nan")),
        "y": given["y"].masked_fill(~present[:, 1, None, None], float("nan")),
    }
    assert torch.equal(network(other, {"x": mask}, present), outputs)
    assert outputs.isfinite().all()


def test_a_fusion_of_tokens_refuses_a_connector_that_changes_the_widths(token_network, monkeypatch):
    monkeypatch.setattr(nas.get("connector", "none"), "dims", [4, 5], raising=False)
    monkeypatch.setattr(
        nas.get("connector", "none"), "__init__", lambda self, dims: torch.nn.Module.__init__(self)
    )
    with pytest.raises(ValueError, match=r"makes \[4, 5\] of the widths \[4, 4\]"):
        token_network()


def test_the_gates_are_those_of_the_fusion():
    network = nas.build(ARCHITECTURE, MODALITIES, TASK).eval()
    outputs, gates = network(batch(4), return_gates=True)
    assert torch.equal(outputs, network(batch(4)))
    assert gates["type"] == "late"
    torch.testing.assert_close(gates["weights"].sum(0), torch.ones(4))


def test_a_component_may_be_given_by_its_name_alone():
    named = ARCHITECTURE | {"fusion": "late", "connector": "none", "head": "linear"}
    spelt = ARCHITECTURE | {"fusion": {"late": {}}, "connector": {"none": None}, "head": {"linear": {}}}
    one, other = (weights(nas.build(tree, MODALITIES, TASK)) for tree in (named, spelt))
    assert same(one, other)


@pytest.mark.parametrize("slot", ["dim", "encoders", "connector", "fusion", "head"])
def test_a_missing_slot_is_named(slot):
    tree = {name: value for name, value in ARCHITECTURE.items() if name != slot}
    with pytest.raises(nas.RequestError, match=f"has no '{slot}'"):
        nas.build(tree, MODALITIES, TASK)


def test_a_missing_encoder_is_named():
    tree = ARCHITECTURE | {"encoders": {"image": {"cnn": {}}}}
    with pytest.raises(nas.RequestError, match="has no 'text'; it has image"):
        nas.build(tree, MODALITIES, TASK)


def test_an_unknown_component_is_named_with_its_near_misses():
    with pytest.raises(nas.RequestError, match=r"no fusion 'lat'; did you mean 'late'"):
        nas.build(ARCHITECTURE | {"fusion": {"lat": {}}}, MODALITIES, TASK)
    with pytest.raises(nas.RequestError, match=r"no hyper-parameter 'widht'; did you mean 'hidden'|'widht'"):
        nas.build(ARCHITECTURE | {"head": {"mlp": {"widht": 3}}}, MODALITIES, TASK)


@pytest.mark.parametrize("present", [["image"], "image"])
def test_presence_that_is_no_mapping_is_a_wrong_request(present):
    with pytest.raises(nas.RequestError, match=r"present: .*true or false of each modality"):
        nas.build(ARCHITECTURE | {"present": present}, MODALITIES, TASK)


@pytest.mark.parametrize("selection", [{}, {"late": {}, "concat": {}}])
def test_a_slot_that_selects_no_single_component_is_a_wrong_request(selection):
    with pytest.raises(nas.RequestError, match="fusion"):
        nas.build(ARCHITECTURE | {"fusion": selection}, MODALITIES, TASK)


@pytest.mark.parametrize("encoder", ["attention", "gru", "transformer"])
@pytest.mark.parametrize("fusion", ["concat", "perceiver"])
def test_padding_is_not_real_in_texts_that_come_without_a_mask(encoder, fusion):
    tree = {"dim": 8, "encoders": {"text": encoder}, "connector": "none", "fusion": fusion, "head": "linear"}
    network = nas.build(tree, {"text": ModalitySpec("text", (6,), vocabulary=9)}, TASK).eval()
    ids = torch.tensor([[3, 1, 4, 0, 0, 0], [2, 7, 1, 8, 2, 8]])
    torch.testing.assert_close(network({"text": ids})[:1], network({"text": ids[:1, :3]}))
    torch.testing.assert_close(network({"text": ids}), network({"text": ids}, {"text": ids != 0}))
