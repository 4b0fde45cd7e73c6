"""Add-ons of a training: what each does to the loss, the gradients and the samples; nothing stays."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import nas
from nas.datasets import load_dataset
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.registry import load_plugins
from nas.space import Architecture
from nas.training import train
from nas.training.add_ons import GradientModulation, add_ons, modulation
from nas.training.blending import JOINT, blend
from nas.training.criterion import Criterion
from nas.training.heads import Heads
from nas.training.missing import ModalityDropout, drop, keep_only

TREE = Architecture(
    {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {"none": {}},
        "fusion": {"late": {}},
        "head": {"linear": {}},
    }
)
EVERY = [
    {"modality_dropout": 0.4},
    {"auxiliary_loss": 0.5},
    {"gradient_blending": "offline"},
    {"gradient_blending": "online"},
    {"modulation": "ogm_ge", "modulation_alpha": 0.5},
    {"modality_dropout": 0.3, "auxiliary_loss": 1.0, "gradient_blending": "offline", "modulation": "ogm_ge"},
]


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


@pytest.fixture
def network(dataset):
    return nas.build(TREE, dataset.modalities, dataset.task, seed=1)


def batch_of(dataset, count=16):
    return dataset.splits["train"].batch(torch.arange(count))


@pytest.mark.parametrize("settings", EVERY, ids=lambda settings: "-".join(map(str, settings.values())))
def test_an_add_on_changes_the_training_follows_the_seed_and_leaves_no_parameter(dataset, settings):
    plain = Evaluator(dataset, ["accuracy"], Training(epochs=2, batch_size=8))(TREE, 3)
    one, other = (
        Evaluator(dataset, ["accuracy"], Training(epochs=2, batch_size=8, **settings))(TREE, 3) for _ in "ab"
    )
    mine, theirs, before = (e.network.state_dict() for e in (one, other, plain))
    assert mine.keys() == before.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert any(not torch.equal(mine[name], before[name]) for name in mine)
    assert one.values["parameters"] == plain.values["parameters"]
    assert not one.network.watchers


def test_add_ons_may_be_searched_as_any_training_setting(dataset):
    searched = Architecture(TREE.to_data() | {"training": {"auxiliary_loss": 0.3, "modulation": "ogm_ge"}})
    settings = Evaluator(dataset, [], Training()).settings(searched)
    assert settings.add_ons == ["auxiliary_loss", "modulation"]
    assert Training().add_ons == []


# Modality dropout


def test_modality_dropout_is_drawn_per_sample_and_never_takes_the_last():
    present = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) < 0.8
    kept = drop(present, 0.5, torch.Generator().manual_seed(1))
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))
    assert len({tuple(row) for row in kept.tolist()}) == 8 - (not bool((~present.any(1)).any()))
    full = drop(torch.ones(20000, 3, dtype=torch.bool), 0.5, torch.Generator().manual_seed(2)).double()
    # Each of 8 outcomes is as likely; that of none is shared by the three of one.
    assert full.mean(0).tolist() == pytest.approx([0.5 + 1 / 24] * 3, abs=0.015)


def test_modality_dropout_keeps_one_of_those_that_a_network_uses(dataset):
    batch = batch_of(dataset, 16)
    changed = ModalityDropout([0], 2, 0.99, seed=0).batch(0, batch)
    assert changed.present[:, 0].all()  # the only one of the network
    assert changed.present[:, 1].all()  # of no interest to it


def test_predictions_know_no_modality_dropout(dataset, network):
    settings = Training(epochs=1, batch_size=8, modality_dropout=0.5)
    epoch = train(network, dataset.splits["train"], dataset.splits["validation"], settings, 0)
    split = dataset.splits["validation"]
    with torch.no_grad():
        expected = network.eval()(split.inputs, split.masks)
    torch.testing.assert_close(epoch.outputs, expected)


# Auxiliary losses


def test_the_auxiliary_loss_is_the_mean_over_the_modalities_of_those_of_the_samples_that_have_them(
    dataset, network
):
    settings = Training(auxiliary_loss=0.5)
    criterion = Criterion(dataset.task)
    optimizer = torch.optim.AdamW(network.parameters())
    [hook] = add_ons(network, dataset.splits["train"], settings, criterion, optimizer, 0)
    batch = batch_of(dataset)
    present = torch.ones(16, 2, dtype=torch.bool)
    present[:5, 1] = False
    batch = nas.Batch(batch.inputs, batch.labels, batch.masks, present)
    outputs = network(batch.inputs, batch.masks, present)
    loss = criterion(outputs, batch.labels)
    features = network.features(batch.inputs, batch.masks, present)
    heads = hook.heads.modules
    image = F.cross_entropy(heads["image"](features["image"]), batch.labels)
    text = F.cross_entropy(heads["text"](features["text"][5:]), batch.labels[5:])
    total = hook.total_loss(0, loss, batch)
    assert total.item() == pytest.approx((loss + 0.5 * (image + text) / 2).item(), rel=1e-5)
    total.backward()
    assert all(parameter.grad is not None for parameter in heads.parameters())


def test_a_modality_that_no_sample_has_adds_nothing(dataset, network):
    criterion = Criterion(dataset.task)
    heads = Heads(network, dataset.splits["train"], criterion, Training(), 0)
    batch = keep_only(batch_of(dataset), ["image", "text"], ["image"])
    features = network.features(batch.inputs, batch.masks, batch.present)
    assert heads.losses(batch, features)["text"] == 0


# Gradient blending


def test_blending_weighs_by_gain_over_squared_overfitting():
    losses = {"a": (1.0, 1.0, 0.5, 0.7), "b": (1.0, 1.0, 0.6, 0.7), JOINT: (1.0, 1.0, 0.2, 1.1)}
    ratios = {"a": 0.3 / 0.2**2, "b": 0.3 / 0.1**2, JOINT: 0.001 / 0.9**2}  # what gains nothing has a floor
    weights = blend(losses)
    assert weights == pytest.approx({name: r / sum(ratios.values()) for name, r in ratios.items()})
    assert sum(weights.values()) == pytest.approx(1)


def test_blending_is_told_and_estimated_anew_where_it_is_online(dataset):
    def told(way):
        settings = Training(epochs=4, batch_size=16, gradient_blending=way)
        epochs = Evaluator(dataset, ["accuracy"], settings)(TREE, 0).epochs
        names = ("blending/image", "blending/text", "blending/joint")
        return [tuple(epoch[name] for name in names) for epoch in epochs]

    offline, online = told("offline"), told("online")
    assert all(sum(weights) == pytest.approx(1) for weights in [*offline, *online])
    assert len(set(offline)) == 1
    assert len(set(online)) == 4
    assert offline[0] == online[0]


# OGM-GE


def test_modulation_slows_what_is_ahead_alone():
    factors = modulation({"a": 0.8, "b": 0.4}, 0.5)
    assert factors == {"a": pytest.approx(1 - math.tanh(0.5 * 2)), "b": 1.0}
    three = modulation({"a": 0.8, "b": 0.4, "c": 0.4}, 0.1)
    assert three == {"a": pytest.approx(1 - math.tanh(0.1 * 2)), "b": 1.0, "c": 1.0}


def test_the_gradient_of_an_encoder_is_scaled_and_gets_noise_of_its_own_deviation(dataset, network):
    hook = GradientModulation(network, 0.5, seed=0)
    batch = batch_of(dataset)
    network.train()
    F.cross_entropy(network(batch.inputs, batch.masks), batch.labels).backward()
    before = {name: p.grad.clone() for name, p in network.named_parameters()}
    factors = modulation(hook.scores(batch), 0.5)
    assert sorted(factors.values())[0] < 1
    hook.before_update(0, batch)
    for name, parameter in network.named_parameters():
        if not name.startswith("encoders."):
            assert torch.equal(parameter.grad, before[name])
        elif parameter.numel() > 500:
            noise = parameter.grad - factors[name.split(".")[1]] * before[name]
            deviation = before[name].std(correction=0)
            assert noise.std().item() == pytest.approx(deviation.item(), rel=0.15)
            assert abs(noise.mean().item()) < 0.2 * deviation


def test_a_score_is_the_probability_of_the_right_class_from_one_modality(dataset, network):
    batch = batch_of(dataset)
    present = torch.tensor([True, False]).expand(16, 2)
    with torch.no_grad():
        outputs = network.eval()(batch.inputs, batch.masks, present).softmax(1).numpy()
    expected = np.mean([row[label] for row, label in zip(outputs, batch.labels.tolist(), strict=True)])
    assert GradientModulation(network, 0.5, 0).scores(batch)["image"] == pytest.approx(expected, rel=1e-5)


def test_a_network_with_add_ons_is_in_no_population(dataset, network):
    from nas.training.population import obstacle

    assert obstacle(network, Training()) is None
    assert "modality_dropout" in obstacle(network, Training(modality_dropout=0.1))
