"""How a network depends on its modalities, against formulas written another way."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch

import nas
from nas.datasets import TensorSplit, load_dataset
from nas.registry import load_plugins
from nas.results.robustness import (
    accuracy,
    calibration,
    confusion,
    gates_by_class,
    missing_curve,
    noise_curve,
    shapley,
    subset_scores,
)
from nas.training import predict

TREE = {
    "dim": 8,
    "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
    "connector": {"none": {}},
    "fusion": {"gate": {}},
    "head": {"linear": {}},
}


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


@pytest.fixture
def network(dataset):
    return nas.build(TREE, dataset.modalities, dataset.task, seed=1)


def test_the_score_of_every_subset_is_that_with_the_others_absent(dataset, network):
    split = dataset.splits["validation"]
    scores = subset_scores(network, split, empty=True)
    assert list(scores) == [(), ("image",), ("text",), ("image", "text")]
    assert list(subset_scores(network, split)) == list(scores)[1:]
    for chosen, score in scores.items():
        present = torch.tensor([name in chosen for name in ("image", "text")]).expand(len(split), 2)
        with torch.no_grad():
            outputs = network.eval()(split.inputs, split.masks, present)
        assert score == accuracy(outputs, split.labels)


def test_shapley_values_are_the_mean_gain_over_all_orders_and_sum_to_the_whole():
    rng, names = np.random.default_rng(0), ("a", "b", "c", "d")
    sets = [tuple(n for i, n in enumerate(names) if code >> i & 1) for code in range(16)]
    values = {chosen: float(rng.random()) for chosen in sets}
    gains = {name: [] for name in names}
    for order in permutations(names):
        for place, name in enumerate(order):
            before = tuple(n for n in names if n in order[:place])
            after = tuple(n for n in names if n in order[: place + 1])
            gains[name].append(values[after] - values[before])
    found = shapley(values)
    assert found == pytest.approx({name: np.mean(gain) for name, gain in gains.items()})
    assert sum(found.values()) == pytest.approx(values[names] - values[()])


def test_noise_of_level_0_is_the_clean_signal_and_the_curve_follows_the_seed(dataset, network):
    split = dataset.splits["train"]
    clean = accuracy(*predict(network, split))

    def total(outputs, labels):
        return outputs.double().sum().item()

    expected = total(*predict(network, split))
    for name in ("image", "text"):
        curve = noise_curve(network, split, name, score=total)
        assert curve[0.0] == expected
        assert curve[1.0] != expected
        assert noise_curve(network, split, name, score=total) == curve
        assert noise_curve(network, split, name)[0.0] == clean


def test_noise_leaves_the_padding_of_a_text(dataset, network):
    seen = []
    network.encoders["text"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    split = dataset.splits["train"]
    noise_curve(network, split, "text", levels=[1.0])
    [noisy] = seen
    assert torch.equal(noisy == 0, split.inputs["text"] == 0)
    assert (noisy != split.inputs["text"]).any()
    assert noisy.max() < 7


def test_a_missing_rate_goes_from_all_there_to_none(dataset, network):
    split = dataset.splits["train"]
    subsets = subset_scores(network, split)
    curve = missing_curve(network, split, "text", rates=[0.0, 0.5, 1.0])
    assert curve[0.0] == subsets["image", "text"]
    assert curve[1.0] == subsets["image",]
    assert missing_curve(network, split, "text", rates=[0.0, 0.5, 1.0]) == curve


def test_calibration_is_the_weighted_gap_between_confidence_and_accuracy():
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(300, 4, generator=generator), torch.randint(4, (300,), generator=generator)
    found = calibration(outputs, labels)
    assert sum(part["count"] for part in found["bins"]) == 300
    gap = sum(part["count"] / 300 * abs(part["confidence"] - part["accuracy"]) for part in found["bins"])
    assert found["ece"] == pytest.approx(gap, abs=1e-6)
    json.dumps(found)


def test_the_confusion_matrix_counts_the_true_class_by_row():
    outputs = torch.eye(3)[[0, 1, 1, 2]]
    assert confusion(outputs, torch.tensor([0, 0, 1, 2])) == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_gate_weights_by_class_are_means_over_the_samples_of_the_class(dataset, network):
    split = dataset.splits["train"]
    found = gates_by_class(network, split)
    assert set(found) <= set(dataset.task.classes)
    with torch.no_grad():
        _, gates = network.eval()(split.inputs, split.masks, return_gates=True)
    for label, name in enumerate(dataset.task.classes):
        assert sum(found[name].values()) == pytest.approx(1)
        expected = gates["weights"][0, split.labels == label].mean().item()
        assert found[name]["image"] == pytest.approx(expected, rel=1e-5)
    concat = nas.build(TREE | {"fusion": {"concat": {}}}, dataset.modalities, dataset.task)
    assert gates_by_class(concat, split) is None


def test_attention_weighs_a_modality_by_how_much_those_that_are_there_look_at_it(dataset):
    network = nas.build(TREE | {"fusion": {"attention": {}}}, dataset.modalities, dataset.task, seed=1)
    whole = dataset.splits["train"]
    present = torch.ones(len(whole), 2, dtype=torch.bool)
    present[::3, 1] = False
    split = TensorSplit(whole.inputs, whole.labels, whole.masks, present)
    found = gates_by_class(network, split)
    with torch.no_grad():
        looks = network.eval()(split.inputs, split.masks, present, return_gates=True)[1]["weights"]
    for label, name in enumerate(dataset.task.classes):
        rows = (split.labels == label).nonzero().flatten().tolist()
        seen = [np.mean([looks[row, m, 0] for m in range(2) if present[row, m]]) for row in rows]
        assert found[name]["image"] == pytest.approx(np.mean(seen), rel=1e-5)
        assert sum(found[name].values()) == pytest.approx(1)
