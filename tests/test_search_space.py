"""The search space: reading it, proposing from it, and finding the way back."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas import Architecture, Choice, Expression, Float, Int, ModalitySpec, SearchSpace
from nas.errors import KeyPathError
from nas.registry import load_plugins
from nas.space.assemble import assemble
from nas.space.search_space import Fixed, Group, Select

IMAGE = ModalitySpec("image", (1, 8, 8))
TEXT = ModalitySpec("text", (5,), vocabulary=7)
AUDIO = ModalitySpec("audio", (1, 16, 16))
TWO = {"image": IMAGE, "text": TEXT}
THREE = TWO | {"audio": AUDIO}

names = st.sampled_from("abcd")
finite_leaves = (
    st.sampled_from([0, 1, True, None, "x", 0.5, 2.0]).map(Fixed)
    | st.tuples(st.integers(0, 5), st.integers(0, 2)).map(lambda pair: Int(pair[0], sum(pair)))
    | st.sampled_from(
        [Choice("x", "y"), Choice(0.0, 0.5, 1.0), Choice(True, 1, "1"), Choice(None, 3), Choice("z")]
    )
    | st.sampled_from([Expression(("f", "g"), 2), Expression(("f",), 3)])
)
leaves = finite_leaves | st.sampled_from([Float(0, 1), Float(1e-4, 1.0, log=True), Float(2, 2), Int(1, 99)])


def groups(leaf, depth=2):
    nodes = leaf
    if depth:
        inner = groups(leaf, depth - 1)
        options = st.dictionaries(names, inner, min_size=1, max_size=3)
        nodes = leaf | inner | options.map(lambda found: Select("kind", found))
    return st.dictionaries(names, nodes, max_size=3).map(Group)


spaces = groups(leaves).map(SearchSpace)
finite_spaces = groups(finite_leaves).map(SearchSpace)


def everything(node):
    """Every value of a finite node."""
    match node:
        case Fixed(value):
            yield value
        case Group(children):
            for combination in itertools.product(*(list(everything(child)) for child in children.values())):
                yield dict(zip(children, combination, strict=True))
        case Select(_, options):
            for name, option in options.items():
                yield from ({name: value} for value in everything(option))
        case _:
            yield from node


@given(spaces, st.integers(0, 2**32))
def test_a_sample_is_a_point_of_the_space(space, seed):
    assert space.sample(np.random.default_rng(seed)) in space


@given(spaces, st.integers(0, 2**32))
def test_the_decisions_behind_an_architecture_lead_back_to_it(space, seed):
    asked = {}

    def choose(path, domain):
        asked[path] = (domain, domain.sample(rng))
        return asked[path][1]

    rng = np.random.default_rng(seed)
    architecture = space.draw(choose)
    decisions = space.decisions(architecture)
    assert list(decisions.items()) == list(asked.items())  # the same, and in the same order
    assert [type(value) for _, value in decisions.values()] == [type(value) for _, value in asked.values()]
    again = space.draw(lambda path, domain: decisions[path][1])
    assert again == architecture


@given(spaces, st.integers(0, 2**32))
def test_every_decision_is_one_of_the_domains_of_the_space(space, seed):
    domains = dict(space.domains())
    for path, (domain, value) in space.decisions(space.sample(np.random.default_rng(seed))).items():
        assert domains[path] == domain
        assert domain.contains(value)


@given(finite_spaces)
def test_the_size_is_the_number_of_architectures(space):
    if space.size <= 2000:
        points = {Architecture(value) for value in everything(space.root)}
        assert space.size == len(points)
        assert all(point in space for point in points)


def test_a_space_with_a_real_number_is_infinite():
    assert assemble({"training": {"learning_rate": {"float": [0.1, 0.2]}}}, TWO).size == math.inf


def test_the_size_of_a_conditional_space():
    @nas.register("connector", "wired")
    class Wired:
        """A connector with a component in it."""

        domains = {"layers": Int(1, 3), "topology": nas.Component("topology")}

        def __init__(self, dims, layers=1, topology="ring"):
            pass

    topologies = {"ring": {"k": 4}, "watts_strogatz": {"k": {"int": [2, 8], "step": 2}, "beta": 0.1}}
    data = {
        "dim": {"int": [16, 64], "step": 16},
        "encoders": {
            "image": {"cnn": {"width": {"choice": [8, 16]}}},
            "text": {"attention": {"embedding": 16}},
        },
        "connector": {"choice": {"none": {}, "wired": {"topology": {"choice": topologies}}}},
        "fusion": {"choice": ["late", "concat"]},
        "head": "linear",
    }
    both, image, text = 2 * (1 + 3 * (1 + 4)) * 2, 2, 1
    assert assemble(data | {"present": "all"}, TWO).size == 4 * both
    assert assemble(data, TWO).size == 4 * (both + image + text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 17}, "dim: 17 is not within 16…64 step 16"),
        ({"dim": True}, "dim: True is not within"),
        ({"head": {"mlp": {}}}, "head: 'mlp' is none of linear"),
        ({"head": "linear"}, "head: 'linear' is none of linear"),
        ({"fusion": {}}, "fusion: .* is none of early, late"),
        ({"fusion": {"early": {"hidden": 16}}}, "fusion.early: dropout missing here or there"),
        ({"fusion": {"early": {"hidden": 16, "dropout": True}}}, "fusion.early.dropout: True is not within"),
        ({"fusion": {"early": {"hidden": 16.5, "dropout": 0}}}, "fusion.early.hidden: 16.5 is not within"),
        ({"extra": 1}, "architecture: extra missing here or there"),
    ],
)
def test_what_is_no_point_of_the_space_is_told_by_its_path(wrong, message):
    early = Group({"hidden": Int(16, 32), "dropout": Float(0, 1)})
    space = SearchSpace(
        Group(
            {
                "dim": Int(16, 64, step=16),
                "head": Select("head", {"linear": Group({})}),
                "fusion": Select("fusion", {"early": early, "late": Group({})}),
            }
        )
    )
    right = {"dim": 16, "head": {"linear": {}}, "fusion": {"early": {"hidden": 16, "dropout": 1}}}
    assert Architecture(right) in space
    assert Architecture(right | wrong) not in space
    with pytest.raises(ValueError, match=message):
        space.decisions(Architecture(right | wrong))


def test_a_choice_of_whole_floats_is_found_again():
    space = assemble({"training": {"warmup": {"choice": [0.0, 0.5, 1.0]}}}, TWO)
    for seed in range(9):
        architecture = space.sample(np.random.default_rng(seed))
        _, value = space.decisions(architecture)["training.warmup"]
        assert type(value) is float


# Reading a space


component_data = st.fixed_dictionaries(
    {},
    optional={
        "dim": st.sampled_from([16, {"int": [4, 8]}, {"choice": [8, 12]}, {"int": [4, 64], "log": True}]),
        "encoders": st.fixed_dictionaries(
            {},
            optional={
                "image": st.sampled_from(
                    ["cnn", {"cnn": {"width": 8}}, {"choice": "all"}, {"choice": ["cnn"]}]
                ),
                "text": st.sampled_from([{"attention": None}, {"choice": {"attention": {"embedding": 16}}}]),
                "audio": st.just("spectrogram_cnn"),
            },
        ),
        "connector": st.sampled_from(
            [
                "none",
                {"small_world": {"topology": "ring"}},
                {"choice": {"none": {}, "small_world": {"layers": 2, "topology": {"choice": ["ring"]}}}},
                {"choice": {"none": None, "small_world": {"topology": {"choice": {"ring": {"k": 2}}}}}},
            ]
        ),
        "fusion": st.sampled_from(
            ["late", {"choice": "all"}, {"choice": ["late", {"early": {"hidden": {"int": [16, 20]}}}]}]
        ),
        "head": st.sampled_from(["linear", {"mlp": {"dropout": 0.5}}, {"choice": ["linear", "mlp"]}]),
        "present": st.sampled_from(
            [
                "all",
                ["text"],
                ["text", "image"],
                {"image": True},
                {"text": False},
                {"image": {"choice": [True, False]}, "text": True},
            ]
        ),
        "stand_in": st.sampled_from(["zero", "learned", {"choice": ["zero", "learned"]}]),
        "training": st.sampled_from(
            [{}, {"epochs": 3}, {"learning_rate": {"float": [1e-4, 1e-2], "log": True}}]
        ),
    },
)


@given(component_data, st.integers(0, 2**32))
def test_the_data_of_a_space_reassemble_to_it(data, seed):
    space = assemble(data, TWO)
    again = assemble(space.to_data(), TWO)
    assert again == space
    assert space.sample(np.random.default_rng(seed)) in again


@given(component_data, st.integers(0, 2**32))
def test_spaces_of_components_propose_their_own_points(data, seed):
    space = assemble(data, TWO)
    architecture = space.sample(np.random.default_rng(seed))
    decisions = space.decisions(architecture)
    assert space.draw(lambda path, domain: decisions[path][1]) == architecture


def test_an_empty_file_is_the_space_of_everything_that_fits():
    options = dict(assemble({}, TWO).domains())
    assert options["dim"] == Int(16, 128, log=True)
    assert set(options["fusion"]) == {
        name for name in nas.available("fusion") if _takes(nas.get("fusion", name), 2)
    }
    assert set(options["connector"]) == set(nas.available("connector"))
    assert set(options["head"]) == set(nas.available("head"))
    topologies = set(options["connector.small_world.topology"])
    assert {"ring", "watts_strogatz", "erdos_renyi"} <= topologies
    assert "explicit" not in topologies  # nothing says which file it would read


def _takes(fusion, count):
    low, high = getattr(fusion, "modalities", (1, None))
    return low <= count and (high is None or count <= high)


def test_what_is_left_out_comes_from_the_component():
    own = nas.get("head", "mlp").domains
    domains = dict(assemble({"head": {"mlp": {"dropout": 0.1}}}, TWO).domains())
    assert domains["head.mlp.hidden"] == own["hidden"]
    assert "head.mlp.dropout" not in domains
    assert assemble({"head": "mlp"}, TWO) == assemble({"head": {"mlp": None}}, TWO)


@pytest.mark.parametrize("settings", [None, {}])
def test_null_settings_are_no_settings(settings):
    assert assemble({"fusion": {"late": settings}}, TWO) == assemble({"fusion": "late"}, TWO)
    assert assemble({"fusion": {"choice": {"late": settings, "concat": settings}}}, TWO) == assemble(
        {"fusion": {"choice": ["late", "concat"]}}, TWO
    )


def test_a_fusion_of_exactly_two_is_never_proposed_for_three():
    assert "sigmoid_gate" in dict(assemble({}, TWO).domains())["fusion"]
    assert "sigmoid_gate" not in dict(assemble({}, THREE).domains())["fusion"]
    assert "sigmoid_gate" not in dict(assemble({"fusion": {"choice": "all"}}, THREE).domains())["fusion"]


def test_a_fusion_of_two_or_more_is_never_proposed_for_one():
    assert "cross_modal" not in dict(assemble({}, {"image": IMAGE}).domains())["fusion"]


def test_naming_a_fusion_of_exactly_two_for_three_is_an_error_that_lists_those_that_fit():
    with pytest.raises(KeyPathError) as caught:
        assemble({"fusion": {"choice": ["late", "sigmoid_gate"]}}, THREE)
    assert caught.value.path == ("fusion", "choice")
    assert "fusion 'sigmoid_gate' takes 1 to 2 modalities, and there are 3; fitting:" in str(caught.value)
    assert "cross_modal" in str(caught.value).partition("fitting:")[2]


def test_a_plugin_of_exactly_two_modalities_is_named_so():
    @nas.register("fusion", "pairwise")
    class Pairwise:
        """Of two."""

        modalities = (2, 2)

    assert "pairwise" in dict(assemble({}, TWO).domains())["fusion"]
    with pytest.raises(KeyPathError, match="takes 2 modalities, and there are 3"):
        assemble({"fusion": "pairwise"}, THREE)


def test_encoders_are_keyed_by_the_name_or_by_the_kind_of_a_modality():
    modalities = {"front": IMAGE, "back": IMAGE, "caption": TEXT}
    narrow, wide = {"cnn": {"width": 8}}, {"cnn": {"width": 9}}
    encoders = assemble({"encoders": {"image": narrow, "back": wide}}, modalities).to_data()["encoders"]
    assert encoders["front"] == narrow
    assert encoders["back"] == wide
    assert "attention" in encoders["caption"]["choice"]


def test_encoders_of_kinds_that_the_data_lack_are_allowed():
    assert list(assemble({"encoders": {"audio": "spectrogram_cnn"}}, TWO).to_data()["encoders"]) == [
        "image",
        "text",
    ]


def test_an_encoder_that_reads_another_kind_is_an_error():
    with pytest.raises(
        KeyPathError, match=r"encoders\.image: encoder 'attention' reads text, not image.*cnn"
    ):
        assemble({"encoders": {"image": "attention"}}, TWO)


def test_components_in_components_are_conditional_on_both():
    data = {"connector": {"small_world": {"topology": {"choice": {"watts_strogatz": {"k": 4}, "ring": {}}}}}}
    domains = dict(assemble(data, TWO).domains())
    base = "connector.small_world.topology"
    assert domains[base] == Choice("watts_strogatz", "ring")
    assert domains[f"{base}.ring.k"] == nas.get("topology", "ring").domains["k"]
    assert f"{base}.watts_strogatz.k" not in domains
    assert f"{base}.watts_strogatz.beta" in domains


def test_a_component_without_the_required_trait_does_not_fit_its_slot(tmp_path):
    (tmp_path / "plugin.py").write_text(
        "import nas\n"
        "@nas.register('connector', 'picky')\n"
        "class Picky:\n"
        "    '''Wants rectangles.'''\n"
        "    domains = {'topology': nas.Component('topology', {'rectangular': True})}\n"
        "    def __init__(self, dims, topology='erdos_renyi'): self.dims = dims\n"
    )
    assert load_plugins([tmp_path]) == []
    options = dict(assemble({"connector": "picky"}, TWO).domains())["connector.picky.topology"]
    assert "erdos_renyi" in options
    assert "ring" not in options
    with pytest.raises(KeyPathError, match=r"connector\.picky\.topology: topology 'ring' does not fit"):
        assemble({"connector": {"picky": {"topology": "ring"}}}, TWO)


ERRORS = [
    ({"dims": 3}, "dims", "'dims' is not a key here; did you mean 'dim'?"),
    ({"dim": "wide"}, "dim", "'wide' does not fit; the component's own domain is 16…128 log"),
    ({"dim": 16.5}, "dim", "16.5 does not fit"),
    ({"dim": True}, "dim", "True does not fit"),
    ({"dim": 0}, "dim", "a width is at least 1"),
    ({"dim": {"int": [0, 8]}}, "dim", "a width is at least 1"),
    ({"dim": {"int": [9, 8]}}, "dim", "low must not be greater than high"),
    ({"dim": {"float": [8, 9]}}, "dim", "does not fit"),
    ({"dim": {"choice": []}}, "dim", "at least one option"),
    ({"dim": {"int": [8]}}, "dim", "takes [low, high]"),
    ({"dim": None}, "dim", "None does not fit"),
    ({"encoders": ["cnn"]}, "encoders", "is not a mapping of keys to values"),
    ({"encoders": {"imag": "cnn"}}, "encoders.imag", "did you mean 'image'"),
    ({"encoders": {"image": {"cnn": {"widht": 8}}}}, "encoders.image.cnn.widht", "did you mean 'width'"),
    ({"encoders": {"image": {"cnn": {"width": "8"}}}}, "encoders.image.cnn.width", "'8' does not fit"),
    ({"encoders": {"image": {"cnn": {"width": [8]}}}}, "encoders.image.cnn.width", "does not fit"),
    (
        {"encoders": {"text": {"attention": {"embedding": "wide"}}}},
        "encoders.text.attention.embedding",
        "fit",
    ),
    ({"encoders": {"text": {"attention": {"heads": math.nan}}}}, "encoders.text.attention.heads", "finite"),
    ({"encoders": {"image": {"cnn": 8}}}, "encoders.image.cnn", "8 is not a mapping"),
    ({"encoders": {"image": "cn"}}, "encoders.image", "there is no encoder 'cn'; did you mean 'cnn'?"),
    ({"fusion": None}, "fusion", "None is no fusion; give its name"),
    ({"fusion": {"late": {}, "concat": {}}}, "fusion", "is no fusion"),
    ({"fusion": {"choice": "every"}}, "fusion.choice", "'every' is no choice; give `all`, a list"),
    ({"fusion": {"choice": []}}, "fusion.choice", "[] is no choice"),
    ({"fusion": {"choice": {}}}, "fusion.choice", "[] is no choice"),
    ({"fusion": {"choice": ["late", "late"]}}, "fusion.choice", "a fusion is given twice: late, late"),
    ({"fusion": {"choice": ["late", "ladder"]}}, "fusion.choice", "there is no fusion 'ladder'"),
    ({"fusion": {3: {}}}, "fusion", "there is no fusion 3"),
    ({"head": {"mlp": {"dropout": {"float": [0.5, 0.1]}}}}, "head.mlp.dropout", "low must not be greater"),
    ({"head": {"mlp": {"dropout": math.inf}}}, "head.mlp.dropout", "finite"),
    (
        {"connector": {"small_world": {"topology": {"ring": {"beta": 1}}}}},
        "connector.small_world.topology.ring.beta",
        "'beta' is not a key here",
    ),
    (
        {"connector": {"small_world": {"topology": "explicit"}}},
        "connector.small_world.topology.explicit.path",
        "topology 'explicit' needs a value for 'path'",
    ),
    ({"present": "some"}, "present", "'some' is not allowed; give all, a list of modalities"),
    ({"present": ["imag"]}, "present", "'imag' is not a modality; did you mean 'image'?"),
    ({"present": []}, "present", "no modality is left; a network needs at least one"),
    ({"present": {"imag": True}}, "present.imag", "did you mean 'image'?"),
    ({"present": {"image": "yes"}}, "present.image", "'yes' does not fit"),
    ({"present": {"image": False, "text": False}}, "present", "no modality is left"),
    ({"stand_in": "leaned"}, "stand_in", "'leaned' is not a stand-in; did you mean 'learned'?"),
    ({"stand_in": {"choice": ["zero", "one"]}}, "stand_in", "'one' is not a stand-in"),
    ({"training": 3}, "training", "3 is not a mapping"),
    ({"training": {"epochs": {"int": [3, 1]}}}, "training.epochs", "low must not be greater"),
]


@pytest.mark.parametrize(
    ("data", "path", "message"), ERRORS, ids=[f"{path}-{i}" for i, (_, path, _) in enumerate(ERRORS)]
)
def test_an_error_names_its_key_path_and_what_is_allowed(data, path, message):
    with pytest.raises(KeyPathError) as caught:
        assemble(data, TWO)
    assert ".".join(caught.value.path) == path
    assert message in caught.value.message


def test_a_kind_without_a_fitting_component_is_an_error():
    with pytest.raises(KeyPathError, match=r"encoders\.smell\.choice: no encoder fits here"):
        assemble({}, {"nose": ModalitySpec("smell", (3,))})
