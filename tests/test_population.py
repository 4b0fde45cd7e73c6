"""Population training: every member ends as it would alone; what cannot be batched is refused unchanged."""

import copy
import io
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import nas
from nas.datasets import load_dataset
from nas.errors import TrialError
from nas.evaluation import Evaluator, Trial
from nas.experiment import Training
from nas.network import build
from nas.registry import load_plugins
from nas.search.setup import prepare
from nas.space import Architecture
from nas.training import train
from nas.training.population import Member, UnfitError, obstacle, pays, shape, train_together

SETTINGS = [
    {"learning_rate": 1e-2, "weight_decay": 0.1},
    {"learning_rate": 3e-3, "gradient_clip": 0.05, "label_smoothing": 0.2, "schedule": "constant"},
    {"learning_rate": 2e-2, "warmup": 0.5},
]
STEPS = {"epochs": 3, "batch_size": 12}  # of 32 samples: the last batch is smaller


@pytest.fixture
def dataset(toy):
    """`toy` in float64, in which the differences that rounding makes are far below all others."""
    load_plugins([toy])
    dataset = load_dataset("toy")
    for split in dataset.splits.values():
        split.inputs["image"] = split.inputs["image"].double()
    return dataset


@pytest.fixture
def splits(dataset):
    return dataset.splits["train"], dataset.splits["validation"]


def architecture(connector=None, fusion="concat", head="linear"):
    return {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": connector or {"none": {}},
        "fusion": fusion if isinstance(fusion, dict) else {fusion: {}},
        "head": head if isinstance(head, dict) else {head: {}},
    }


def small_world(beta, seed=0, dropout=0.0, **settings):
    topology = {"watts_strogatz": {"k": 4, "beta": beta}}
    own = {"layers": 2, "seed": seed, "dropout": dropout, "topology": topology}
    return {"small_world": own | settings}


SPARSE = [
    architecture(small_world(0.0, seed=0, dropout=0.0), head={"mlp": {"hidden": 16, "dropout": 0.3}}),
    architecture(small_world(0.3, seed=1, dropout=0.2), head={"mlp": {"hidden": 16, "dropout": 0.0}}),
    architecture(small_world(1.0, seed=2, dropout=0.5), head={"mlp": {"hidden": 16, "dropout": 0.1}}),
]
DENSE = [architecture(fusion="cross_modal")] * 3


def members(dataset, architectures, settings=SETTINGS, notes=None, states=(None, None, None)):
    notes = [[] for _ in architectures] if notes is None else notes
    built = enumerate(zip(architectures, settings, notes, states, strict=True))
    return [
        Member(
            build(tree, dataset.modalities, dataset.task, seed=place).double(),
            Training(**STEPS | own),
            10 + place,
            noted.append,
            state=state,
        )
        for place, (tree, own, noted, state) in built
    ]


def alone(dataset, architectures, settings=SETTINGS):
    """Networks and epochs of separate trainings."""
    trained = members(dataset, architectures, settings, notes := [[] for _ in architectures])
    for one in trained:
        splits = dataset.splits["train"], dataset.splits["validation"]
        train(one.network, *splits, one.settings, one.seed, one.on_epoch)
    return [one.network for one in trained], notes


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(
            theirs[name], tensor, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def same_epochs(noted, expected):
    assert [epoch.number for epoch in noted] == [epoch.number for epoch in expected]
    for one, other in zip(noted, expected, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-9)
        torch.testing.assert_close(one.outputs, other.outputs, rtol=1e-9, atol=1e-9)
        assert torch.equal(one.labels, other.labels)
        assert one.wiring == other.wiring


@pytest.mark.parametrize("architectures", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_every_member_ends_as_it_does_alone_with_its_own_wiring_dropout_and_settings(
    dataset, splits, architectures
):
    networks, expected = alone(dataset, architectures)
    together = members(dataset, architectures, notes=(notes := [[] for _ in architectures]))
    ends = dict(train_together(together, *splits))
    assert {place: end.number for place, end in ends.items()} == {0: 3, 1: 3, 2: 3}
    for place, one in enumerate(together):
        same_epochs(notes[place], expected[place])
        same_weights(one.network, networks[place])


def test_a_stopped_member_leaves_and_the_others_are_as_without_it(dataset, splits):
    networks, expected = alone(dataset, SPARSE)
    together = members(dataset, SPARSE, notes=(notes := [[] for _ in SPARSE]))

    def stop(epoch):
        notes[1].append(epoch)
        raise TrialError("pruned", "enough")

    together[1] = Member(together[1].network, together[1].settings, together[1].seed, stop)
    ends = list(train_together(together, *splits))
    assert [place for place, _ in ends] == [1, 0, 2]
    assert ends[0][1].kind == "pruned"
    assert len(notes[1]) == 1
    for place in (0, 2):
        same_epochs(notes[place], expected[place])
        same_weights(together[place].network, networks[place])


def test_a_member_that_diverges_fails_as_nan_and_touches_no_other(dataset, splits):
    settings = [SETTINGS[0], SETTINGS[1] | {"learning_rate": 1e200, "gradient_clip": 0.0}, SETTINGS[2]]
    networks, expected = alone(dataset, DENSE)
    together = members(dataset, DENSE, settings, notes := [[] for _ in DENSE])
    ends = list(train_together(together, *splits))
    assert [place for place, _ in ends] == [1, 0, 2]
    assert (ends[0][1].kind, ends[0][1].message) == ("nan", "the training loss is nan in epoch 1 of 3")
    for place in (0, 2):
        same_epochs(notes[place], expected[place])
        same_weights(together[place].network, networks[place])


def run_together(dataset, splits, members):
    return list(train_together(members, *splits))


def run_apart(dataset, splits, members):
    for one in members:
        train(one.network, *splits, one.settings, one.seed, one.on_epoch, state=one.state)


@pytest.mark.parametrize("first", [run_together, run_apart])
@pytest.mark.parametrize("then", [run_together, run_apart])
@pytest.mark.parametrize("architectures", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_networks_go_on_together_or_apart_from_what_either_has_kept(
    dataset, splits, architectures, first, then
):
    kept = [io.BytesIO() for _ in architectures]

    def keep(content, epoch):
        if epoch.number == 2:
            torch.save(epoch.state(), content)
            content.seek(0)
        assert (epoch.state is None) == (epoch.number == 3)

    begun = members(dataset, architectures)
    first(
        dataset,
        splits,
        [replace(one, on_epoch=partial(keep, content)) for one, content in zip(begun, kept, strict=True)],
    )
    states = [torch.load(content, weights_only=True) for content in kept]
    notes = [[] for _ in architectures]
    then(dataset, splits, resumed := members(dataset, architectures, notes=notes, states=states))
    networks, expected = alone(dataset, architectures)
    for place, one in enumerate(resumed):
        same_epochs(notes[place], expected[place][2:])
        same_weights(one.network, networks[place])
        if first is then:
            assert_equal(one.network, begun[place].network)


def assert_equal(one, other):
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


class Odd(nn.Module):
    """The mean of the modalities and a linear layer; subclasses add something to it."""

    def __init__(self, dims, strength: float = 1.0) -> None:
        super().__init__()
        self.out_dim, self.strength = dims[0], strength
        self.linear = nn.Linear(dims[0], dims[0])

    def forward(self, features, present=None, return_gates=False):
        return self.linear(self.change(sum(features)))


class Normed(Odd):
    def __init__(self, dims) -> None:
        super().__init__(dims)
        self.norm = nn.BatchNorm1d(dims[0])

    def change(self, x):
        return self.norm(x)


class Unused(Odd):
    def __init__(self, dims) -> None:
        super().__init__(dims)
        self.unused = nn.Parameter(torch.ones(3))

    def change(self, x):
        return x


class Padded(Odd):
    def __init__(self, dims, strength: float = 1.0) -> None:
        super().__init__(dims, strength)
        self.embedding = nn.Embedding(2, dims[0], padding_idx=0)

    def change(self, x):
        return x + self.embedding((x[:, 0] > 0).long())


class Forgetful(Padded):
    def change(self, x):  # `vmap` knows nothing of padding, and what looks after it sees `F.embedding` alone
        return x + torch.embedding(self.embedding.weight, (x[:, 0] > 0).long(), 0)


class Noisy(Odd):
    def change(self, x):
        return x + torch.randn_like(x) if self.training else x


class Scaled(Odd):
    def change(self, x):
        return x * self.strength


class Looking(Odd):
    def change(self, x):
        return x if float(x.detach().sum()) > 1e9 else 2 * x


@pytest.mark.parametrize(
    "component",
    [Normed, Unused, Padded],
    ids=["running means", "a parameter without use", "padding that learns nothing"],
)
def test_what_a_network_keeps_beside_its_weights_is_as_alone(dataset, splits, component):
    nas.register("fusion", "odd")(component)
    trees = [architecture(fusion="odd")] * 3
    networks, expected = alone(dataset, trees)
    together = members(dataset, trees, notes=(notes := [[] for _ in trees]))
    list(train_together(together, *splits))
    for place, one in enumerate(together):
        same_epochs(notes[place], expected[place])
        same_weights(one.network, networks[place])


@pytest.mark.parametrize(
    ("component", "strengths", "reason"),
    [
        (Noisy, (1.0, 1.0, 1.0), "random"),
        (Scaled, (1.0, 1.5, 1.0), "batched, they compute something else than alone"),
        (Forgetful, (1.0, 1.0, 1.0), "batched, they learn something else than alone"),
        (Looking, (1.0, 1.0, 1.0), "RuntimeError"),
    ],
    ids=["draws of its own", "a value that is no tensor", "a gradient of its own", "a look at the data"],
)
def test_what_cannot_be_batched_is_refused_and_nothing_has_changed(
    dataset, splits, component, strengths, reason
):
    nas.register("fusion", "odd")(component)
    trees = [architecture(fusion={"odd": {"strength": strength}}) for strength in strengths]
    together = members(dataset, trees)
    before = copy.deepcopy([one.network for one in together])
    drawn = torch.get_rng_state()
    with pytest.raises(UnfitError, match=reason):
        list(train_together(together, *splits))
    assert torch.equal(torch.get_rng_state(), drawn)
    for one, network in zip(together, before, strict=True):
        same_weights(one.network, network)


@pytest.mark.parametrize(
    ("connector", "reason"),
    [
        (small_world(0.3), None),
        (small_world(0.3, rewiring="none"), None),
        (small_world(0.3, rewiring="set"), "connector.layers.0 is rewired in training"),
        (
            small_world(0.3, topology={"learnable_watts_strogatz": {"k": 4}}),
            "the wiring of connector.layers.0 is learnable",
        ),
    ],
)
def test_wiring_that_changes_is_an_obstacle(dataset, connector, reason):
    network = build(architecture(connector), dataset.modalities, dataset.task)
    assert obstacle(network, Training()) == reason


def test_networks_of_other_sizes_edges_epochs_or_batches_have_another_shape(dataset):
    def shape_of(tree, **settings):
        return shape(build(tree, dataset.modalities, dataset.task), Training(**settings))

    one = shape_of(SPARSE[0])
    assert shape_of(SPARSE[1], learning_rate=0.1, weight_decay=0.3, label_smoothing=0.1) == one
    assert shape_of(DENSE[0]) != one
    assert shape_of(SPARSE[0], epochs=3) != one
    assert shape_of(SPARSE[0], batch_size=3) != one
    wider = architecture(small_world(0.0, topology={"ring": {"k": 6}}), head={"mlp": {"hidden": 16}})
    assert shape_of(wider) != one


# Evaluations


@pytest.fixture
def evaluator(toy):
    load_plugins([toy])
    return Evaluator(
        load_dataset("toy"), ["accuracy"], Training(**STEPS), {"parameters": "<= 10000"}, device="cpu"
    )


def ends_of(ends):
    return {place: end for place, end, _ in ends}


def without_times(epochs):
    left = ("seconds", "population")
    return [{name: value for name, value in epoch.items() if name not in left} for epoch in epochs]


def test_evaluations_together_are_those_of_each_alone(evaluator):
    architectures = [
        Architecture(tree | {"training": {"learning_rate": rate}})
        for tree, rate in zip(SPARSE, (0.01, 0.003, 0.02), strict=True)
    ]
    noted = [[] for _ in architectures]
    trials = [Trial(one, 7 + n, noted[n].append) for n, one in enumerate(architectures)]
    outcomes = ends_of(evaluator.together(trials))
    for place, architecture_ in enumerate(architectures):
        alone = evaluator(architecture_, 7 + place)
        outcome = outcomes[place]
        assert outcome.values == pytest.approx(alone.values, abs=1e-5)
        assert outcome.epochs == noted[place]
        assert outcome.epochs[0]["population"] == {"size": 3}
        for one, other in zip(without_times(outcome.epochs), without_times(alone.epochs), strict=True):
            assert one.keys() == other.keys()
            assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
            assert one.get("wiring") == other.get("wiring")
        for name, tensor in alone.network.state_dict().items():
            if "in_proj_bias" not in name:  # that of the keys has no gradient but rounding
                torch.testing.assert_close(outcome.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_only_what_has_one_shape_trains_together_and_the_others_say_why(evaluator):
    evolving = [architecture(small_world(0.3, seed=seed, rewiring="set")) for seed in (0, 1)]
    trees = [DENSE[0], SPARSE[0], DENSE[0], *evolving]
    outcomes = ends_of(evaluator.together([Trial(Architecture(tree), n) for n, tree in enumerate(trees)]))
    notes = [outcomes[place].epochs[0]["population"] for place in range(5)]
    rewired = {"size": 1, "reason": "connector.layers.0 is rewired in training"}
    assert notes == [
        {"size": 2},
        {"size": 1, "reason": "no other has its shape"},
        {"size": 2},
        rewired,
        rewired,
    ]


def test_the_seconds_of_all_are_the_time_that_was_spent(evaluator):
    def stop(metrics):
        time.sleep(0.2)
        raise TrialError("pruned", "enough")

    trees = [SPARSE[0], SPARSE[1], DENSE[0], SPARSE[2], DENSE[0] | {"dim": 64}]
    trials = [Trial(Architecture(tree), n) for n, tree in enumerate(trees)]
    trials[3] = replace(trials[3], on_epoch=stop)
    started = time.perf_counter()
    ends = {place: (end, seconds) for place, end, seconds in evaluator.together(trials)}
    elapsed = time.perf_counter() - started
    assert [getattr(ends[n][0], "kind", "complete") for n in range(5)] == [
        *("complete", "complete", "complete"),
        *("pruned", "constraint"),
    ]
    assert elapsed / 2 < sum(seconds for _, seconds in ends.values()) <= elapsed
    for end, seconds in (ends[n] for n in range(3)):
        assert end.seconds == seconds
        assert [epoch["seconds"] for epoch in end.epochs] == sorted(epoch["seconds"] for epoch in end.epochs)
    assert ends[3][1] > 0.2 / 3


def test_what_cannot_be_batched_is_evaluated_as_alone(evaluator):
    nas.register("fusion", "odd")(Noisy)
    trees = [Architecture(architecture(fusion="odd"))] * 2
    outcomes = ends_of(evaluator.together([Trial(tree, n) for n, tree in enumerate(trees)]))
    for place, tree in enumerate(trees):
        alone = evaluator(tree, place)
        assert outcomes[place].values == alone.values
        assert without_times(outcomes[place].epochs) == without_times(alone.epochs)
        assert "random" in outcomes[place].epochs[0]["population"]["reason"]


def test_each_trial_of_a_group_fails_for_its_own_reason(evaluator):
    def stop(metrics):
        raise TrialError("pruned", "enough")

    wide = Architecture(DENSE[0] | {"dim": 64})
    unknown = Architecture(architecture(fusion="unheard_of"))
    trees = [Architecture(DENSE[0]), wide, unknown, Architecture(DENSE[0])]
    trials = [Trial(tree, n, stop if n == 3 else lambda metrics: None) for n, tree in enumerate(trees)]
    outcomes = ends_of(evaluator.together(trials))
    assert [getattr(outcomes[n], "kind", "complete") for n in range(4)] == [
        "complete",
        "constraint",
        "error",
        "pruned",
    ]


def test_on_a_cpu_populations_pay_for_small_networks_without_convolutions(dataset):
    def network(**modalities):
        chosen = {name: dataset.modalities[name] for name in modalities}
        tree = architecture() | {"dim": 16, "encoders": modalities}
        return build(tree, chosen, dataset.task)

    text = network(text={"attention": {"embedding": 16}})
    assert pays(text, Training(batch_size=64))
    assert not pays(text, Training(batch_size=2**16))
    assert not pays(network(image={"cnn": {"width": 8}}), Training(batch_size=64))


@pytest.mark.parametrize(
    ("execution", "here", "size"),
    [
        ({"backend": "local"}, False, 1),
        ({"backend": "local"}, True, 32),
        ({"backend": "ray", "gpus_per_trial": 0.25}, False, 32),
        ({"backend": "ray"}, True, 1),
    ],
)
def test_auto_fills_populations_where_trials_run_on_gpus_whatever_the_driver_has(
    write_experiment, monkeypatch, execution, here, size
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here)
    assert prepare(write_experiment(execution=execution), []).proposals.groups.size == size


def test_auto_trains_replicates_together_on_a_cpu_where_that_pays_and_asks_for_nothing_else(
    write_experiment, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = {"attention": {"embedding": {"choice": [16, 512]}}}
    space = {"dim": 8, "encoders": {"text": text}, "connector": "none", "fusion": "concat"}
    sections = {"data": {"avt_digits": {"modalities": ["text"]}}, "space": space | {"head": "linear"}}
    setup = prepare(write_experiment(**sections, search={"seeds": 2}), [])
    groups = setup.proposals.groups
    assert (groups.size, groups.fills) == (8, False)
    suiting = {
        point["encoders"]["text"]["attention"]["embedding"]: groups.suit(setup.space, point)
        for point in setup.space.points()
    }
    assert suiting == {16: True, 512: False}
