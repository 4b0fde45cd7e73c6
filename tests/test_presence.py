"""Networks of some of the modalities: part of the space, proposed, built, and named on the front."""

import csv
from collections import Counter

import numpy as np
import pytest
import torch
from test_samplers import SAMPLERS, as_of, derive, live, sampler

import nas
from nas import Architecture, Choice, Expression, Int, ModalitySpec, SearchSpace, Task
from nas.errors import KeyPathError
from nas.results.records import COMPLETE, History, Record
from nas.results.run_directory import RunDirectory
from nas.results.selections import fusing, in_short
from nas.search.samplers._variation import kept
from nas.space.assemble import assemble
from nas.space.presence import Presence
from nas.space.search_space import Group, Select

TASK = Task("classification", ("low", "middle", "high"))
MODALITIES = {
    "image": ModalitySpec("image", (1, 8, 8)),
    "text": ModalitySpec("text", (5,), vocabulary=7),
    "audio": ModalitySpec("audio", (1, 8, 8)),
}
ENCODERS = {
    "image": {"cnn": {"width": {"choice": [8, 12]}}},
    "text": {"attention": {"embedding": 16}},
    "audio": {"spectrogram_cnn": {"width": 8}},
}
DATA = {
    "dim": 8,
    "encoders": ENCODERS,
    "connector": {"choice": {"none": {}, "small_world": {"topology": {"ring": {"k": 2}}, "layers": 1}}},
    "fusion": {"choice": ["late", "concat", "cross_modal"]},
    "head": "linear",
}
DATA["connector"]["choice"]["small_world"] |= {"rewiring": "none", "dropout": 0.0}
JOINT = {"connector": {"none": {}}, "fusion": {"late": {}}}
SETS = [{"image", "text", "audio"}, {"image", "text"}, {"image", "audio"}, {"text", "audio"}]
SETS += [{"image"}, {"text"}, {"audio"}]


def architecture(*chosen, **slots):
    tree = {"dim": 8, "encoders": {name: ENCODERS[name] for name in chosen}, "head": {"linear": {}}} | slots
    if "image" in chosen:
        tree["encoders"] = tree["encoders"] | {"image": {"cnn": {"width": 8}}}
    left_out = {} if len(chosen) == 3 else {"present": {name: name in chosen for name in MODALITIES}}
    return Architecture(tree | left_out | (JOINT if len(chosen) > 1 and "fusion" not in slots else {}))


def inputs(size):
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(size, 1, 8, 8, generator=generator),
        "text": torch.randint(1, 7, (size, 5), generator=generator),
        "audio": torch.randn(size, 1, 8, 8, generator=generator),
    }


# The space


def test_every_set_of_modalities_but_none_is_in_the_space_and_half_of_its_samples_use_all():
    space, rng = assemble(DATA, MODALITIES), np.random.default_rng(0)
    met = Counter(frozenset(space.sample(rng)["encoders"]) for _ in range(600))
    assert set(met) == set(map(frozenset, SETS))
    assert 0.4 < met[frozenset(MODALITIES)] / 600 < 0.6


def test_the_size_counts_every_set_with_the_slots_that_it_has():
    space = assemble(DATA, MODALITIES)
    joint = 2 * 3  # a connector and a fusion, of several modalities alone
    image = 2
    assert space.size == joint * (image + image + image + 1) + image + 1 + 1
    points = list(space.points())
    assert len(points) == len(set(points)) == space.size
    assert all(point in space for point in points)


def test_present_all_is_the_space_without_the_slot():
    space = assemble(DATA | {"present": "all"}, MODALITIES)
    assert space.size == 2 * 3 * 2
    assert all("present" not in point for point in space.points())
    assert not [path for path, _ in space.domains() if path.startswith("present")]
    assert space.to_data()["present"] == "all"


def test_an_architecture_without_the_slot_lies_in_the_space_as_one_of_all_modalities():
    space = assemble(DATA, MODALITIES)
    old = next(assemble(DATA | {"present": "all"}, MODALITIES).points())
    assert space.decisions(old)["present"][1] == "all"
    again = space.draw(lambda path, domain: space.decisions(old)[path][1])
    assert again.id == old.id


@pytest.mark.parametrize(
    ("present", "sets"),
    [
        ({"image": True}, [s for s in SETS if "image" in s]),
        ({"image": False}, [s for s in SETS if "image" not in s]),
        (["audio"], [{"audio"}]),
        ({"image": True, "audio": False}, [{"image", "text"}, {"image"}]),
        ({"text": False, "audio": False}, [{"image"}]),
    ],
)
def test_the_sets_are_those_that_the_slot_allows(present, sets):
    space = assemble(DATA | {"present": present}, MODALITIES)
    assert {frozenset(point["encoders"]) for point in space.points()} == set(map(frozenset, sets))
    rng = np.random.default_rng(0)
    assert {frozenset(space.sample(rng)["encoders"]) for _ in range(80)} == set(map(frozenset, sets))
    for point in space.points():
        decisions = space.decisions(point)
        assert space.draw(lambda path, domain, made=decisions: made[path][1]) == point
        assert set(decisions) <= {path for path, _ in space.domains()}


def test_with_one_modality_there_is_neither_connector_nor_fusion():
    for point in assemble(DATA, MODALITIES).points():
        alone = len(point["encoders"]) == 1
        assert ("fusion" in point, "connector" in point) == (not alone, not alone)


def test_the_fusions_that_are_offered_fit_every_number_of_modalities_beyond_one():
    @nas.register("fusion", "pairwise")
    class Pairwise:
        """Of two."""

        modalities = (2, 2)

    def offered(present):
        return dict(assemble({"present": present}, MODALITIES).domains()).get("fusion", ())

    assert not {"pairwise", "sigmoid_gate"} & set(offered({}))
    assert {"pairwise", "sigmoid_gate"} <= set(offered(["image", "text"]))
    assert {"pairwise", "sigmoid_gate"} <= set(offered({"image": False}))
    assert "cross_modal" in offered({})  # takes at least two
    assert not offered(["image"])


# Settings that name modalities

NAMING = DATA | {"connector": "none", "fusion": {"choice": ["tree", "film", "concat"]}}
NAMING["encoders"] = ENCODERS | {"image": {"cnn": {"width": 8}}}


def test_trees_and_conditions_are_over_the_modalities_in_use():
    space = assemble(NAMING, MODALITIES)
    of_three, of_two = 3 * 5 * 5 + 3 + 1, 5 + 2 + 1  # trees, conditions, and `concat`
    assert space.size == of_three + 3 * of_two + 3
    points = list(space.points())
    assert len(set(points)) == space.size
    for point in points:
        chosen = {list(MODALITIES).index(name) for name in point["encoders"]}
        if "tree" in point.get("fusion", {}):
            assert {int(digit) for digit in str(point["fusion"]["tree"]) if digit.isdigit()} == chosen
        if "film" in point.get("fusion", {}):
            assert point["fusion"]["film"]["condition"] in chosen
        assert Architecture.from_json(point.to_json()) in space
        decisions = space.decisions(point)
        assert space.draw(lambda path, domain, made=decisions: made[path][1]) == point


@pytest.mark.parametrize(
    ("fusion", "alone"),
    [
        ({"tree": {"expression": ["cat", 0, 2]}}, {"tree": {"expression": ["cat", 0, 1]}}),
        ({"film": {"condition": 2}}, {"film": {"condition": 1}}),
    ],
)
def test_a_number_means_the_same_modality_whichever_others_are_in_use(fusion, alone):
    network = nas.build(architecture("image", "audio", fusion=fusion, **NONE), MODALITIES, TASK)
    two = {name: MODALITIES[name] for name in ("image", "audio")}
    pair = architecture("image", "audio", fusion=alone, **NONE).to_data()
    del pair["present"]
    assert torch.equal(network(inputs(4)), nas.build(pair, two, TASK)(inputs(4)))


NONE = {"connector": {"none": {}}}


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (
            {"tree": {"expression": ["cat", 0, 1]}},
            "fusion.tree.expression: .* the operands 0, 2, the numbers",
        ),
        (
            {"film": {"condition": 1}},
            "fusion.film.condition: 1 does not fit; allowed here: {0, 2}, the numbers",
        ),
    ],
)
def test_a_network_that_names_a_modality_it_does_not_use_is_refused(fusion, message):
    with pytest.raises(nas.RequestError, match=message):
        nas.build(architecture("image", "audio", fusion=fusion, **NONE), MODALITIES, TASK)


def test_a_pinned_tree_is_what_is_left_of_it():
    pinned = NAMING | {"fusion": {"tree": {"expression": ["cat", ["mul", 0, 2], 1]}}}
    trees = {
        frozenset(point["encoders"]): point["fusion"]["tree"]["expression"]
        for point in assemble(pinned, MODALITIES).points()
        if "fusion" in point
    }
    cut = {
        ("image", "text"): ("cat", 0, 1),
        ("image", "audio"): ("mul", 0, 2),
        ("text", "audio"): ("cat", 1, 2),
    }
    assert trees == {frozenset(names): tree for names, tree in cut.items()} | {
        frozenset(MODALITIES): ("cat", ("mul", 0, 2), 1)
    }


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"present": "all", "fusion": {"film": {"condition": 3}}}, r"3 is not the number of a modality here"),
        ({"present": "all", "fusion": {"film": {"condition": -1}}}, r"0 \(image\), 1 \(text\), 2 \(audio\)"),
        ({"present": {"text": False}, "fusion": {"film": {"condition": 1}}}, r"0 \(image\), 2 \(audio\)$"),
        ({"fusion": {"film": {"condition": {"choice": [0, 5]}}}}, "5 is not the number"),
        ({"fusion": {"film": {"condition": {"int": [0, 3]}}}}, "3 is not the number"),
        ({"fusion": {"film": {"condition": 2}}}, "leave out audio; give `present: {audio: true}`"),
        ({"fusion": {"choice": {"film": {"condition": "text"}}}}, "'text' does not fit"),
    ],
)
def test_a_condition_that_is_not_always_there_is_refused_by_its_path(slots, message):
    with pytest.raises(KeyPathError, match=message) as caught:
        assemble(NAMING | slots, MODALITIES)
    assert ".".join(caught.value.path).endswith("film.condition")


def test_a_condition_may_be_pinned_to_what_is_required_or_chosen_among_enough():
    pinned = NAMING | {"present": {"audio": True}, "fusion": {"film": {"condition": 2}}}
    assert len([*assemble(pinned, MODALITIES).points()]) == 4
    some = NAMING | {"fusion": {"film": {"condition": {"choice": [0, 1]}}}}
    assert len([*assemble(some, MODALITIES).points()]) == 2 + (2 + 1 + 1) + 3
    assert assemble(assemble(some, MODALITIES).to_data(), MODALITIES) == assemble(some, MODALITIES)


def test_a_tree_loses_the_modality_that_a_mutation_leaves_out():
    space, rng = assemble(NAMING | {"fusion": "tree"}, MODALITIES), np.random.default_rng(0)
    tree = ("cat", ("mul", 0, 2), 1)
    parent = {"present": "some", "present.image": True, "present.text": False, "present.audio": True}
    assert space.decide(lambda path, domain: kept(path, domain, parent | {TREE: tree}, rng))[TREE] == (
        ("mul", 0, 2)
    )


TREE = "fusion.tree.expression"


def test_a_set_that_is_not_allowed_is_told_by_its_path():
    space = assemble(DATA | {"present": {"image": True}}, MODALITIES)
    with pytest.raises(ValueError, match="present: text is not a set of modalities here"):
        space.decisions(architecture("text"))


# Add-ons of the training, which let modalities learn side by side

SIDE_BY_SIDE = {"modality_dropout", "auxiliary_loss", "gradient_blending", "modulation"}


def test_add_ons_all_searches_every_add_on_of_networks_of_several_modalities():
    plain, searched = (
        assemble(DATA, MODALITIES),
        assemble(DATA | {"training": {"add_ons": "all"}}, MODALITIES),
    )
    alone = sum(len(point["encoders"]) == 1 for point in plain.points())
    assert searched.size == 2 ** len(SIDE_BY_SIDE) * (plain.size - alone) + alone
    for point in searched.points():
        assert set(point.get("training", {})) == (SIDE_BY_SIDE if len(point["encoders"]) > 1 else set())
        assert point in searched


def test_a_setting_beside_add_ons_is_its_own_and_what_others_pin_is_left_out():
    training = {"add_ons": "all", "auxiliary_loss": {"choice": [0.0, 1.0]}, "learning_rate": 0.01}
    space = assemble(DATA | {"training": training}, MODALITIES, without=["modulation"])
    written = space.to_data()["training"]
    assert set(written) == SIDE_BY_SIDE - {"modulation"} | {"learning_rate"}
    assert written["auxiliary_loss"] == {"choice": [0.0, 1.0]}
    assert assemble(space.to_data(), MODALITIES).to_data() == space.to_data()
    alone = space.draw(lambda path, domain: list(domain)[-1] if path != "present.image" else True)
    assert (len(alone["encoders"]), dict(alone["training"])) == (1, {"learning_rate": 0.01})


def test_add_ons_may_be_listed_and_none_are_searched_of_data_with_one_modality():
    one = {"image": MODALITIES["image"]}
    listed = assemble(DATA | {"training": {"add_ons": ["modulation"]}}, MODALITIES)
    assert listed.to_data()["training"] == {"modulation": {"choice": ["none", "ogm_ge"]}}
    assert "training" not in assemble({"training": {"add_ons": "all"}}, one).to_data()


@pytest.mark.parametrize(
    "given", ["some", ["modality_dropout", "mixup"], {"modulation": True}, [["modulation"]]]
)
def test_what_add_ons_cannot_be_is_told_with_what_they_can(given):
    with pytest.raises(
        KeyPathError, match="give all, or a list of modality_dropout, auxiliary_loss"
    ) as caught:
        assemble(DATA | {"training": {"add_ons": given}}, MODALITIES)
    assert caught.value.path == ("training", "add_ons")


# Samplers

EITHER = (True, False)
SPACE = SearchSpace(
    Group(
        {
            "dim": Int(16, 96, log=True),
            "encoders": Group({name: Group({"width": Int(1, 9)}) for name in "abc"}),
            "fusion": Select(
                "fusion",
                {
                    "concat": Group({}),
                    "gate": Group({"heads": Int(1, 4)}),
                    "film": Group({"condition": Choice(0, 1, 2)}, frozenset({"condition"})),
                    "tree": Group({"plan": Expression(("add", "mul"), 3)}, frozenset({"plan"})),
                },
            ),
            "head": Select("head", {"linear": Group({}), "mlp": Group({})}),
            "training": assemble(
                {"training": {"weight_decay": {"float": [1e-6, 1.0], "log": True}}}, MODALITIES
            ).root.children["training"],
        },
        of_several=frozenset({"fusion"}),
    ),
    Presence(dict.fromkeys("abc", EITHER)),
)


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    """`b` alone is best, and every other modality costs."""

    def measure(architecture):
        chosen = architecture["encoders"]
        accuracy = 0.5 * ("b" in chosen) + 0.1 / len(chosen)
        return {"accuracy": accuracy, "parameters": float(architecture["dim"] * len(chosen))}

    monkeypatch.setattr("test_samplers.measure", measure)
    monkeypatch.setattr("test_samplers.SPACE", SPACE)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_proposes_sets_of_modalities_and_the_same_after_a_resume(name):
    records = live(sampler(name), 40, space=SPACE)
    assert all(record.architecture in SPACE for record in records)
    assert len({frozenset(record.architecture["encoders"]) for record in records}) >= 4
    again = sampler(name)
    for number in (9, 25, 39):
        assert again.propose(SPACE, as_of(records, number), derive(0, number)) == records[number].architecture


def test_evolution_learns_which_modality_is_worth_it():
    records = live(sampler("evolution"), 60, space=SPACE)
    late = [set(record.architecture["encoders"]) for record in records[40:]]
    assert sum("b" in chosen for chosen in late) >= 15


# The network


def test_a_modality_that_is_switched_off_is_not_built():
    alone = nas.build(architecture("image"), MODALITIES, TASK)
    of_one = {"image": MODALITIES["image"]}
    expected = nas.build(architecture("image"), of_one | {"text": MODALITIES["text"]} | MODALITIES, TASK)
    assert list(alone.encoders) == ["image"]
    cnn = (8 * 9 + 8) + (8 * 16 * 9 + 16) + (16 * 8 + 8)
    assert sum(p.numel() for p in alone.parameters()) == cnn + (8 * 3 + 3)
    assert sum(p.numel() for p in expected.parameters()) == cnn + (8 * 3 + 3)
    assert torch.equal(alone.eval()({"image": inputs(4)["image"]}), alone(inputs(4)))


def test_the_features_of_one_modality_pass_through_to_the_head():
    network = nas.build(architecture("text"), MODALITIES, TASK).eval()
    outputs, gates = network(inputs(4), return_gates=True)
    tokens = network.encoders["text"](inputs(4)["text"])
    torch.testing.assert_close(outputs, network.head(tokens.mean(1)))
    assert gates == {"type": "identity", "weights": None}


@pytest.mark.parametrize("chosen", SETS, ids=lambda chosen: "-".join(sorted(chosen)))
def test_a_network_looks_at_the_columns_of_its_own_modalities(chosen):
    names = [name for name in MODALITIES if name in chosen]
    network = nas.build(architecture(*names), MODALITIES, TASK).eval()
    present = torch.ones(4, 3, dtype=torch.bool)
    for column, name in enumerate(MODALITIES):
        absent = present.clone()
        absent[:, column] = False
        changed = not torch.allclose(network(inputs(4), present=absent), network(inputs(4)))
        assert changed == (name in chosen)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"present": {"imag": True}}, "present: 'imag' is not a modality; did you mean 'image'"),
        ({"present": dict.fromkeys(MODALITIES, False)}, "every modality is switched off"),
        ({"present": {"text": True}, "encoders": {"image": {"cnn": {}}}}, "has no 'text'"),
    ],
)
def test_a_wrong_slot_is_refused(slots, message):
    with pytest.raises(nas.RequestError, match=message):
        nas.build(architecture("image", "text", "audio", **slots), MODALITIES, TASK)


# Stand-ins for absent modalities


def absent(column, size=4):
    present = torch.ones(size, 3, dtype=torch.bool)
    present[:2, column] = False
    return present


def test_a_learned_stand_in_is_what_the_fusion_sees_of_an_absent_modality():
    network = nas.build(architecture(*MODALITIES, stand_in="learned"), MODALITIES, TASK).eval()
    with torch.no_grad():
        network.stand_ins["text"].normal_()
    spoilt = inputs(4) | {"text": torch.where(torch.arange(4)[:, None] < 2, 3, inputs(4)["text"])}
    outputs = network(spoilt, present=absent(1))
    assert torch.equal(outputs, network(inputs(4), present=absent(1)))
    seen = []
    network.fusion.register_forward_pre_hook(lambda module, args: seen.append(args))
    network(inputs(4), present=absent(1))
    [(features, present)] = seen
    assert present is None
    assert torch.equal(features[1][:2], network.stand_ins["text"].expand(2, -1))
    torch.testing.assert_close(outputs[2:], network(inputs(4))[2:])


def test_a_learned_stand_in_is_learned_from_the_samples_that_lack_the_modality():
    network = nas.build(architecture(*MODALITIES, stand_in="learned"), MODALITIES, TASK)
    network(inputs(4), present=absent(1)).sum().backward()
    assert network.stand_ins["text"].grad.abs().sum() > 0
    assert not network.stand_ins["image"].grad.any()


def test_stand_ins_cost_a_vector_per_modality_that_is_used():
    def size(*chosen, **slots):
        network = nas.build(architecture(*chosen, **slots), MODALITIES, TASK)
        return sum(parameter.numel() for parameter in network.parameters())

    for chosen in (("image", "text", "audio"), ("image", "text"), ("text",)):
        assert size(*chosen, stand_in="learned") == size(*chosen) + len(chosen) * 8
        assert size(*chosen, stand_in="zero") == size(*chosen)


def test_the_stand_in_is_searched_where_a_space_gives_it_a_choice():
    space = assemble(DATA | {"present": "all", "stand_in": {"choice": ["zero", "learned"]}}, MODALITIES)
    assert {point["stand_in"] for point in space.points()} == {"zero", "learned"}
    assert "stand_in" not in next(assemble(DATA, MODALITIES).points())


# What a person reads


def test_the_front_says_which_modalities_a_network_uses(tmp_path):
    networks = [architecture("text"), architecture("image", "audio"), architecture(*MODALITIES)]
    values = [{"accuracy": 0.5 + 0.1 * n, "parameters": 10 + n, "sparsity": 0, "flops": 1} for n in range(3)]
    records = [
        Record(n, 0, network, COMPLETE, n, values=values[n], told=n, seconds=1.0)
        for n, network in enumerate(networks)
    ]
    RunDirectory(tmp_path).write_tables(History(records, {"accuracy": "maximize", "parameters": "minimize"}))
    with (tmp_path / "pareto.csv").open() as file:
        assert [row["modalities"] for row in csv.DictReader(file)] == [
            "text",
            "audio image",
            "audio image text",
        ]
    assert in_short(networks[1]) == {
        "modalities": "audio image",
        "connector": "none",
        "fusion": "late",
        "head": "linear",
    }
    assert [fusing(network) for network in networks] == ["text alone", "late", "late"]


def test_the_note_of_the_front_tells_of_a_network_of_one_modality():
    from nas.results.notes import front_note

    values = {"accuracy": 0.5, "parameters": 10, "sparsity": 0, "flops": 1}
    record = Record(0, 0, architecture("text"), COMPLETE, 0, values=values, told=0, seconds=1.0)
    history = History([record], {"accuracy": "maximize", "parameters": "minimize"})
    assert front_note(history).endswith("| text alone |")
