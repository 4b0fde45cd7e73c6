"""Training: everything random in it is a named seed, and what it reports is what happened."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nas import evaluation
from nas.datasets import TensorSplit, load_dataset
from nas.errors import TrialError
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.network import build
from nas.registry import load_plugins
from nas.seeds import derive
from nas.space import Architecture
from nas.training import predict, train

ARCHITECTURE = Architecture(
    {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {"small_world": {"layers": 1, "topology": {"watts_strogatz": {}}, "dropout": 0.3}},
        "fusion": {"concat": {}},
        "head": {"mlp": {"hidden": 16, "dropout": 0.3}},
    }
)
CALM = Architecture(
    ARCHITECTURE.to_data() | {"connector": {"none": {}}, "head": {"linear": {}}}  # nothing random in it
)


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


@pytest.fixture
def network(dataset):
    return build(CALM, dataset.modalities, dataset.task, seed=1)


class Watched:
    """A split that notes which samples it was asked for while its network learned."""

    def __init__(self, split, network):
        self.split, self.network, self.asked = split, network, []

    def __len__(self):
        return len(self.split)

    def batch(self, indices):
        if self.network.training:
            self.asked.append(indices.tolist())
        return self.split.batch(indices)


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def without_times(epochs):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def learning_rates(network, dataset, settings, monkeypatch):
    """The learning rate of every step of a training."""
    rates, step = [], torch.optim.AdamW.step

    def noting(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    train(network, dataset.splits["train"], dataset.splits["validation"], settings, seed=0)
    return rates


def test_the_same_seed_gives_the_same_weights_and_metrics_whatever_torch_drew_before(dataset):
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=2, batch_size=8))
    torch.manual_seed(1)
    one = evaluator(ARCHITECTURE, seed=7)
    torch.manual_seed(2)
    torch.rand(100)
    other = evaluator(ARCHITECTURE, seed=7)
    assert same_weights(one.network, other.network)
    assert without_times(one.epochs) == without_times(other.epochs)
    assert one.values == other.values


def test_another_seed_gives_another_network_and_another_training(dataset):
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=1, batch_size=8))
    assert not same_weights(evaluator.build(CALM, 7), evaluator.build(CALM, 8))
    assert evaluator(CALM, 7).epochs[0]["train_loss"] != evaluator(CALM, 8).epochs[0]["train_loss"]


def test_dropout_follows_the_seed(dataset):
    def loss(seed):
        network = build(ARCHITECTURE, dataset.modalities, dataset.task, seed=1)
        settings = Training(epochs=1, batch_size=32)  # one batch: its order cannot matter
        return train(
            network, dataset.splits["train"], dataset.splits["validation"], settings, seed
        ).train_loss

    assert loss(1) == loss(1)
    assert abs(loss(1) - loss(2)) > 1e-4


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own(dataset, network):
    split = Watched(dataset.splits["train"], network)
    train(network, split, dataset.splits["validation"], Training(epochs=3, batch_size=12), seed=5)
    assert [len(batch) for batch in split.asked] == [12, 12, 8] * 3
    orders = [list(chain(*split.asked[start : start + 3])) for start in (0, 3, 6)]
    assert all(sorted(order) == list(range(32)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_order_of_the_batches_is_the_seed_s_and_not_the_architecture_s(dataset):
    def orders(architecture, seed):
        network = build(architecture, dataset.modalities, dataset.task, seed=seed)
        split = Watched(dataset.splits["train"], network)
        train(network, split, dataset.splits["validation"], Training(epochs=2, batch_size=8), seed)
        return split.asked

    assert orders(CALM, 5) == orders(ARCHITECTURE, 5) != orders(CALM, 6)
    generator = torch.Generator().manual_seed(derive(5, "batches"))
    assert list(chain(*orders(CALM, 5)[:4])) == torch.randperm(32, generator=generator).tolist()


def test_the_cosine_schedule_rises_linearly_and_falls_along_a_half_cosine(dataset, network, monkeypatch):
    settings = Training(epochs=5, batch_size=8, learning_rate=0.01, warmup=0.25)  # 20 steps, 5 of warm-up
    rises = [0.01 * (step + 1) / 5 for step in range(5)]
    falls = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 15)) for step in range(15)]
    assert learning_rates(network, dataset, settings, monkeypatch) == pytest.approx(rises + falls)


def test_the_constant_schedule_rises_linearly_and_stays(dataset, network, monkeypatch):
    settings = Training(epochs=2, batch_size=8, learning_rate=0.01, warmup=0.5, schedule="constant")
    expected = [0.01 * factor for factor in (0.25, 0.5, 0.75, 1, 1, 1, 1, 1)]
    assert learning_rates(network, dataset, settings, monkeypatch) == pytest.approx(expected)


def test_the_training_loss_is_the_mean_over_the_samples_of_an_epoch(dataset, network):
    split = dataset.splits["train"]
    settings = Training(epochs=1, batch_size=12, learning_rate=1e-12, label_smoothing=0.1)
    outputs, labels = predict(network, split)
    expected = F.cross_entropy(outputs, labels, label_smoothing=0.1).item()
    epoch = train(network, split, dataset.splits["validation"], settings, seed=0)
    assert epoch.train_loss == pytest.approx(expected, rel=1e-5)


def test_the_training_loss_falls(dataset, network):
    losses = []
    settings = Training(epochs=10, batch_size=16, learning_rate=0.01)
    splits = dataset.splits["train"], dataset.splits["validation"]
    train(network, *splits, settings, 0, lambda epoch: losses.append(epoch.train_loss))
    assert losses[-1] < 0.5 * losses[0]


def test_a_loss_that_is_not_finite_ends_the_training_as_nan(dataset, network):
    split = dataset.splits["train"]
    image = split.inputs["image"].clone()
    image[3, 0, 0, 0] = float("nan")
    spoilt = TensorSplit(split.inputs | {"image": image}, split.labels, split.masks)
    with pytest.raises(TrialError, match=r"the training loss is nan in epoch 1 of 2") as caught:
        train(network, spoilt, dataset.splits["validation"], Training(epochs=2), seed=0)
    assert caught.value.kind == "nan"


def test_an_empty_training_split_is_refused(dataset, network):
    empty = TensorSplit({}, torch.empty(0, dtype=torch.long))
    with pytest.raises(ValueError, match="training split is empty"):
        train(network, empty, dataset.splits["validation"], Training(), seed=0)


def test_predictions_are_in_the_split_s_order_and_without_dropout(dataset):
    network = build(ARCHITECTURE, dataset.modalities, dataset.task, seed=1)
    split = dataset.splits["train"]
    many = torch.arange(32).repeat(40)  # beyond one batch of predictions
    batch = split.batch(many)
    outputs, labels = predict(network.train(), TensorSplit(batch.inputs, batch.labels, batch.masks))
    with torch.no_grad():
        expected = network.eval()(batch.inputs, batch.masks)
    torch.testing.assert_close(outputs, expected)
    assert torch.equal(labels, batch.labels)


def test_the_last_epoch_s_metrics_are_the_final_values(dataset):
    evaluator = Evaluator(dataset, ["accuracy", "parameters"], Training(epochs=3, batch_size=8))
    noted = []
    evaluation = evaluator(CALM, 0, noted.append)
    assert noted == evaluation.epochs
    assert [epoch["epoch"] for epoch in noted] == [1, 2, 3]
    outputs, labels = predict(evaluation.network, dataset.splits["validation"])
    accuracy = np.mean(outputs.numpy().argmax(1) == labels.numpy())
    assert evaluation.values["accuracy"] == noted[-1]["accuracy"] == accuracy
    assert evaluation.values.keys() == {"accuracy", "parameters", "sparsity", "flops"}


def test_what_an_architecture_says_about_its_training_counts_before_the_experiment(dataset):
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=3, batch_size=8))
    shorter = Architecture(CALM.to_data() | {"training": {"epochs": 1}})
    assert len(evaluator(shorter, 0).epochs) == 1


class Untouchable:
    """A split that must not be looked at in any way."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self):
        raise AssertionError("the test split was touched: len")


def test_the_test_split_is_never_touched_by_an_evaluation(dataset):
    dataset.splits["test"] = Untouchable()
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=1), {"parameters": "<= 1e9"})
    assert evaluator(CALM, 0).values["parameters"] > 0


@pytest.mark.parametrize(("free", "place"), [(10**9, "meta"), (1000, "cpu")])
def test_a_split_is_moved_to_the_device_only_where_it_fits(dataset, monkeypatch, free, place):
    monkeypatch.setattr(evaluation, "_free_bytes", lambda device: free)
    split = evaluation._on(dataset.splits["train"], torch.device("meta"))
    assert split.inputs["image"].device.type == place
