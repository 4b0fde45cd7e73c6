"""On another device than main memory everything stays there, and comes out as it does in main memory.

No GPU is needed: `pretended` has a device that refuses what a GPU would.
"""

import copy
import json
from dataclasses import replace

import pytest
import torch
from pretended import MixedDevicesError, Pretended, pretended
from safetensors.torch import save_file

import nas
from nas.contract._cases import ModuleCase, cases, seeded
from nas.datasets import load_dataset
from nas.evaluation import Evaluator, Trial, untrained
from nas.experiment import Training
from nas.registry import get, load_plugins, unset
from nas.results import robustness
from nas.space import Architecture

TRAINING = {"epochs": 2, "batch_size": 16}


def complete(kind):
    """The components that need no settings to be built."""
    return [name for name in nas.available(kind) if not unset(kind, get(kind, name))]


PARTS = [(kind, name) for kind in ("encoder", "connector", "fusion", "head") for name in complete(kind)]
LEARNABLE = {"learnable_watts_strogatz": {"k": 4}}


@pytest.fixture
def device():
    with pretended() as device:
        yield device


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


def moved(value, device):
    """A module, a tensor, or a list of tensors on a device."""
    return [moved(one, device) for one in value] if isinstance(value, list) else value.to(device)


def cpu(tensor):
    return tensor.detach().to("cpu")


def architecture(fusion="concat", **connector):
    small_world = {"small_world": {"layers": 1} | connector}
    return Architecture(
        {
            "dim": 8,
            "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
            "connector": small_world if connector else {"none": {}},
            "fusion": {fusion: {}},
            "head": {"linear": {}},
        }
    )


def test_the_pretended_device_refuses_what_a_gpu_refuses(device):
    x, y = torch.ones(3, device=device), torch.ones(3)
    for mix in (lambda: x + y, lambda: torch.cat([x, y]), lambda: y[x.long()], lambda: y.mul_(x)):
        with pytest.raises(MixedDevicesError):
            mix()
    with pytest.raises(MixedDevicesError):
        torch.rand(3, generator=torch.Generator(), device=device)
    with pytest.raises((TypeError, RuntimeError)):
        x.numpy()
    assert isinstance(x[torch.tensor([0, 1])] * 2, Pretended)
    assert isinstance(x * torch.tensor(2.0), Pretended)
    assert (x + x).tolist() == [2, 2, 2]
    assert not isinstance(cpu(x), Pretended)


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_component_learns_on_the_device_as_in_main_memory(kind, name, device):
    for case in list(cases(kind, name, get(kind, name), {}))[:2]:
        assert isinstance(case, ModuleCase)
        inputs = case.inputs(4)
        results = []
        for place in ("cpu", device):
            module = moved(case.build(0).train(), place)
            optimizer = torch.optim.AdamW(module.parameters(), 1e-2) if list(module.parameters()) else None
            torch.manual_seed(0)
            outputs = case.run(module, moved(inputs, place))
            assert all(output.device == torch.device(place) for output in outputs)
            loss = sum(output.square().mean() for output in outputs)
            if optimizer:
                loss.backward()
                optimizer.step()
            results.append([cpu(tensor) for tensor in (*outputs, *module.parameters())])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", complete("fusion"))
def test_a_fusion_is_told_on_the_device_what_is_missing(name, device):
    [case, *_] = cases("fusion", name, get("fusion", name), {})
    present = torch.rand(4, len(case.dims), generator=seeded()) < 0.6
    present[:, 0] = True
    fused, told = moved(case.build(), device).eval()(
        moved(case.inputs(4), device), present.to(device), return_gates=True
    )
    assert isinstance(fused, Pretended)
    assert told["weights"] is None or isinstance(told["weights"], Pretended | dict | list)


@pytest.mark.parametrize(
    "name", [n for n in nas.available("topology") if not unset("topology", get("topology", n))]
)
def test_a_sparse_layer_is_wired_and_changed_on_the_device(name, device):
    layer = nas.SparseLinear(24, 24, name, segments=[8, 8, 8]).to(device)
    layer.optimizer = torch.optim.AdamW(layer.parameters(), 1e-2)
    layer.anneal(0.5)
    layer(torch.randn(4, 24, device=device)).square().mean().backward()
    layer.optimizer.step()
    shares = [share for share in (layer.beta, layer.budgets) if share is not None]
    assert all(isinstance(share, Pretended) for share in shares)
    other = copy.deepcopy(layer)
    layer.restart(0.3, seed=1)
    other.load_state_dict(layer.state_dict())
    layer.freeze(layer.optimizer)
    layer.rewire(layer.weight > 0)
    layer._current_layout().pattern  # noqa: B018 - what the other backend would need
    assert isinstance(layer(torch.randn(4, 24, device=device)), Pretended)
    assert isinstance(layer.source, Pretended)


SEARCHES = {
    "plain": (architecture(), {}),
    "small world": (architecture(topology={"watts_strogatz": {}}, dropout=0.3), {}),
    "learnable beta": (architecture(topology=LEARNABLE), {"identifiability": True}),
    "learnable budgets": (architecture(topology={"learnable_budgets": {}}), {}),
    "learned, then evolving": (architecture(topology=LEARNABLE, rewiring={"rigl": {"interval": 1}}), {}),
    "losses": (architecture(), {"label_smoothing": 0.1, "class_weights": "balanced"}),
    "modality dropout": (architecture("attention"), {"modality_dropout": 0.3}),
    "auxiliary loss": (architecture(), {"auxiliary_loss": 0.5}),
    "blending": (architecture(), {"gradient_blending": "online"}),
    "modulation": (architecture(), {"modulation": "ogm_ge"}),
    "channels last": (architecture(), {"channels_last": True}),
} | {
    name: (architecture(topology={"watts_strogatz": {}}, rewiring={name: {}}), {})
    for name in complete("rewiring")
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_trial_on_the_device_has_the_values_of_main_memory(search, dataset):
    tree, settings = SEARCHES[search]
    training = Training(**TRAINING | settings)
    expected = Evaluator(dataset, ["accuracy"], training)(tree, seed=1)
    with pretended() as device:
        found = Evaluator(dataset, ["accuracy"], training, device=device)(tree, seed=1)
        assert {parameter.device for parameter in found.network.parameters()} == {device}
    losses = [[epoch["train_loss"] for epoch in one.epochs] for one in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert found.values == pytest.approx(expected.values, rel=1e-4)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_every_task_is_learned_and_measured_on_the_device(kind, dataset):
    classes = {name: split.labels for name, split in dataset.splits.items()}
    dataset.task = nas.Task(kind, ("one", "other", "third")[: 3 if kind == "classification" else 2])
    if kind == "regression":
        dataset.task = replace(dataset.task, center=(1.0, 2.0), scale=(0.5, 3.0))
    for name, split in dataset.splits.items():
        labels = torch.stack([classes[name] > 0, classes[name] > 1], 1)
        present = torch.rand(len(split), 2, generator=seeded()) < 0.8
        answers = {"classification": classes[name], "multilabel": labels.long(), "regression": labels.float()}
        dataset.splits[name] = replace(split, labels=answers[kind], present=present)
    names = [name for name in nas.available("objective") if fits(name, dataset.task)]
    expected = Evaluator(dataset, names, Training(**TRAINING))(architecture("attention"), seed=1).values
    with pretended() as device:
        evaluator = Evaluator(dataset, names, Training(**TRAINING), device=device)
        found = evaluator(architecture("attention"), seed=1).values
    assert untimed(found) == pytest.approx(untimed(expected), rel=1e-4, nan_ok=True)


def fits(objective, task):
    return task.kind in getattr(get("objective", objective), "tasks", [task.kind])


def untimed(values):
    return {name: value for name, value in values.items() if name not in ("latency_ms", "memory_mb")}


def test_frozen_encoders_and_what_is_learned_on_their_features_stay_on_the_device(
    dataset, device, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    training = Training(**TRAINING, encoders="frozen")
    evaluation = Evaluator(dataset, ["accuracy"], training, device=device)(architecture(), seed=1)
    assert all(isinstance(parameter, Pretended) for parameter in evaluation.network.parameters())


def test_a_population_on_the_device_has_the_values_of_main_memory(dataset):
    tree = architecture(topology={"watts_strogatz": {"k": 4}}, dropout=0.3)
    trials = [Trial(tree, seed) for seed in range(3)]

    def values(device):
        evaluator = Evaluator(dataset, ["accuracy"], Training(**TRAINING), device=device)
        ends = {place: end for place, end, _ in evaluator.together(trials)}
        assert [end.epochs[0]["population"] for end in ends.values()] == [{"size": 3}] * 3
        return [ends[place].values for place in range(3)]

    expected = values("cpu")
    with pretended() as device:
        assert values(device) == [pytest.approx(one, rel=1e-4) for one in expected]


def test_what_a_network_rests_on_is_found_out_on_the_device(dataset, device):
    evaluator = Evaluator(dataset, ["accuracy"], Training(**TRAINING), device=device)
    evaluation = evaluator(architecture("attention"), seed=1)
    found = robustness.understand(
        evaluation.network, dataset.splits["test"], robustness.accuracy, "accuracy", seed=0
    )
    json.dumps(found)


def test_a_network_on_the_device_inherits_weights(dataset, device, tmp_path):
    tree = architecture(topology={"watts_strogatz": {}})
    parent = untrained(tree, dataset.modalities, dataset.task, seed=0)
    (tmp_path / "architecture.json").write_text(json.dumps(tree.to_data()))
    state = {name: tensor.contiguous() for name, tensor in parent.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    evaluator = Evaluator(dataset, ["accuracy"], Training(**TRAINING), device=device)
    evaluation = evaluator(tree, seed=1, ancestor=tmp_path)
    assert 0 < evaluation.epochs[0]["inherited"] <= 1
