"""Objectives against counts and formulas written down by hand, and what happens when they fail."""

import numpy as np
import pytest
import torch
from torch import nn

import nas
from nas.attention import MultiHeadAttention
from nas.datasets import Batch, TensorSplit, load_dataset
from nas.errors import TrialError
from nas.evaluation import Evaluator
from nas.experiment import Training, excess
from nas.modality import ModalitySpec, Task
from nas.network import build
from nas.objectives import Context
from nas.objectives.accuracy import Accuracy
from nas.objectives.parameters import Parameters
from nas.registry import create, load_plugins
from nas.space import Architecture
from nas.sparse import SparseLinear

TASK = Task("classification", ("low", "middle", "high"))
MODALITIES = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
SAMPLE = Batch(
    {"image": torch.ones(1, 1, 8, 8), "text": torch.ones(1, 5, dtype=torch.long)},
    torch.zeros(1, dtype=torch.long),
)
ENCODERS = {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}}
DENSE = {
    "dim": 8,
    "encoders": ENCODERS,
    "connector": {"none": {}},
    "fusion": {"concat": {}},
    "head": {"linear": {}},
}
SPARSE = DENSE | {
    "connector": {"small_world": {"layers": 2, "topology": {"ring": {"k": 4}}}},
    "fusion": {"small_world": {"k": 2}},
}
CNN = (1 * 8 * 9 + 8) + (8 * 16 * 9 + 16) + (16 * 8 + 8)
ATTENTION = 7 * 16 + (3 * 16 * 16 + 3 * 16) + (16 * 16 + 16) + (16 * 8 + 8)


def measure(name, network, sample=SAMPLE, outputs=None, labels=None):
    return create("objective", name)(Context(network, MODALITIES, TASK, sample, outputs, labels))


def network(tree):
    return build(Architecture(tree), MODALITIES, TASK)


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


@pytest.fixture
def evaluate(dataset):
    def run(tree=DENSE, constraints=None, objectives=("accuracy",), **options):
        evaluator = Evaluator(dataset, list(objectives), Training(epochs=1, batch_size=16), constraints)
        return evaluator(Architecture(tree), 0, **options)

    return run


# Parameters and sparsity


def test_parameters_of_a_dense_network_are_those_counted_by_hand():
    assert measure("parameters", network(DENSE)) == CNN + ATTENTION + (16 * 3 + 3)


def test_parameters_of_a_sparse_layer_are_its_edges_and_its_biases():
    connector, fusion, head = 2 * (16 * 4 + 16), 16 * 2, 16 * 3 + 3
    assert measure("parameters", network(SPARSE)) == CNN + ATTENTION + connector + fusion + head


def test_frozen_parameters_do_not_count():
    frozen = network(DENSE)
    frozen.head.requires_grad_(False)
    assert measure("parameters", frozen) == measure("parameters", network(DENSE)) - (16 * 3 + 3)


def test_sparsity_compares_with_the_same_network_of_dense_layers():
    stored = CNN + ATTENTION + 2 * (16 * 4 + 16) + 16 * 2 + 16 * 3 + 3
    dense = CNN + ATTENTION + 2 * (16 * 16 + 16) + 16 * 16 + 16 * 3 + 3
    assert measure("sparsity", network(SPARSE)) == pytest.approx(1 - stored / dense, abs=1e-12)


def test_a_network_without_sparse_layers_has_sparsity_0():
    assert measure("sparsity", network(DENSE)) == 0


def test_the_cheap_objectives_are_the_same_before_and_after_training(evaluate):
    evaluation = evaluate(SPARSE)
    for name in ("parameters", "sparsity", "flops"):
        assert evaluation.values[name] == measure(name, network(SPARSE))


@pytest.mark.parametrize("search_phase", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    "topology", [{"erdos_renyi": {"density": 0.9}}, {"learnable_watts_strogatz": {"k": 9}}]
)
def test_what_a_pruned_network_costs_is_promised_before_the_training(topology, search_phase, dataset):
    wiring = {"topology": topology, "rewiring": {"gradual_magnitude": {"density": 0.2}}}
    tree = DENSE | {"connector": {"small_world": {"layers": 2} | wiring}}
    evaluator = Evaluator(dataset, [], Training(epochs=4, batch_size=16, search_phase=search_phase))
    promised = {}
    trained = evaluator(Architecture(tree), 0, on_measured=promised.update).network
    edges = round(0.2 * 16 * 16)
    assert [len(layer.weight) for layer in trained.connector.layers] == [edges, edges]
    learned = 2 * ("learnable_watts_strogatz" in topology)  # a beta each, until they are frozen
    stored = sum(parameter.numel() for parameter in trained.parameters())
    assert promised["parameters"] == stored + learned
    dense = stored + learned + 2 * (16 * 16 - edges)
    assert promised["sparsity"] == pytest.approx(1 - promised["parameters"] / dense, abs=1e-12)
    assert promised["flops"] == evaluator.measure(trained)["flops"]


def test_a_layer_that_starts_below_the_density_of_its_pruning_is_promised_as_it_is():
    wiring = {"topology": {"ring": {"k": 4}}, "rewiring": {"gradual_magnitude": {"density": 0.5}}}
    built = network(SPARSE | {"connector": {"small_world": {"layers": 2} | wiring}})
    assert measure("parameters", built) == measure("parameters", network(SPARSE))


# Floating-point operations


class Part(nn.Module):
    """A layer in the place of a network."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs, masks=None, present=None):
        return self.layer(inputs["x"])


def flops(layer, *shape):
    return measure("flops", Part(layer), Batch({"x": torch.ones(*shape)}, torch.zeros(1)))


def test_flops_of_a_linear_layer_are_two_per_weight_and_row():
    assert flops(nn.Linear(7, 5), 1, 7) == 2 * 7 * 5
    assert flops(nn.Linear(7, 5), 1, 3, 7) == 2 * 3 * 7 * 5


class Learned(nn.Module):
    """A linear layer of a parameter, beside one that is frozen."""

    def __init__(self):
        super().__init__()
        self.query, self.layer = nn.Parameter(torch.ones(3, 7)), nn.Linear(7, 5)
        self.layer.bias.requires_grad_(False)

    def forward(self, x):
        return self.layer(self.query.expand(len(x), -1, -1))


def test_flops_of_what_is_computed_from_a_parameter_count_and_leave_it_as_it_was():
    layer = Learned()
    assert flops(layer, 1, 7) == 2 * 3 * 7 * 5
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"query", "layer.weight"}


@pytest.mark.parametrize("fusion", nas.available("fusion"))
def test_a_network_with_any_fusion_is_measured(fusion):
    assert measure("flops", network(DENSE | {"fusion": {fusion: {}}})) > 0


def test_flops_of_a_convolution_are_two_per_weight_and_position():
    assert flops(nn.Conv2d(2, 6, 3, padding=1), 1, 2, 8, 4) == 2 * (8 * 4) * (6 * 2 * 3 * 3)


def test_flops_of_attention_are_those_of_its_matrix_products():
    tokens, width = 5, 16
    projections = 2 * tokens * width * (3 * width) + 2 * tokens * width * width
    scores_and_mixture = 2 * (2 * tokens * tokens * width)
    assert flops(MultiHeadAttention(width, heads=4), 1, tokens, width) == projections + scores_and_mixture


@pytest.mark.parametrize("backend", ["dense", "csr"])
def test_flops_of_a_sparse_layer_are_two_per_edge_and_row_however_it_is_computed(backend):
    layer = SparseLinear(20, 20, {"ring": {"k": 4}})
    layer.backend = backend
    assert flops(layer, 1, 20) == 2 * 80
    assert flops(layer, 1, 3, 20) == 2 * 80 * 3


@pytest.mark.parametrize("backend", ["dense", "csr"])
def test_flops_of_a_network_are_the_sum_of_its_parts(backend):
    images = {"image": MODALITIES["image"]}
    tree = SPARSE | {"encoders": {"image": ENCODERS["image"]}, "fusion": {"concat": {}}}
    built = build(Architecture(tree), images, TASK)
    for layer in built.modules():
        if isinstance(layer, SparseLinear):
            layer.backend = backend
    convolutions = 2 * 64 * (8 * 1 * 9) + 2 * 16 * (16 * 8 * 9)
    rest = 2 * (16 * 8) + 2 * (2 * 8 * 4) + 2 * (8 * 3)
    assert measure("flops", built) == convolutions + rest


def test_counting_flops_leaves_the_network_as_it_was():
    built = network(SPARSE).train()
    measure("flops", built)
    assert built.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in built.modules())
    assert all(parameter.grad is None for parameter in built.parameters())


# Accuracy


def test_accuracy_is_the_share_of_right_classes():
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(101, 4)), rng.integers(4, size=101)
    measured = measure("accuracy", None, None, torch.tensor(outputs), torch.tensor(labels))
    assert measured == np.mean(outputs.argmax(1) == labels)


def test_accuracy_of_outputs_that_are_not_numbers_is_not_a_number():
    outputs = torch.eye(3)
    outputs[1, 2] = float("nan")
    assert np.isnan(measure("accuracy", None, None, outputs, torch.arange(3)))


def test_accuracy_before_training_is_refused():
    with pytest.raises(ValueError, match="trained network's outputs"):
        measure("accuracy", None)


def test_an_objective_that_is_not_a_number_fails_the_trial_as_nan(dataset, evaluate):
    split = dataset.splits["validation"]
    broken = split.inputs | {"image": torch.full_like(split.inputs["image"], float("nan"))}
    dataset.splits["validation"] = TensorSplit(broken, split.labels, split.masks)
    with pytest.raises(TrialError, match="the objective accuracy is not a number") as caught:
        evaluate()
    assert caught.value.kind == "nan"


@pytest.mark.parametrize(
    ("value", "what"),
    [(float("nan"), "not a number"), (float("inf"), "infinite"), (-float("inf"), "infinite")],
)
def test_a_figure_that_is_not_finite_fails_the_trial_and_before_it_where_it_is_known_then(
    evaluate, monkeypatch, value, what
):
    monkeypatch.setattr(Accuracy, "__call__", lambda self, context: value)
    with pytest.raises(TrialError, match=f"the objective accuracy is {what}") as caught:
        evaluate()
    assert caught.value.kind == "nan"
    monkeypatch.setattr(Parameters, "__call__", lambda self, context: value)
    monkeypatch.setattr("nas.evaluation.train", lambda *args: pytest.fail("it was trained"))
    with pytest.raises(TrialError, match=f"the objective parameters is {what}") as caught:
        evaluate(constraints={"parameters": "<= 10"}, on_measured=lambda cheap: pytest.fail("it was told of"))
    assert caught.value.kind == "nan"


# Constraints and failures


@pytest.mark.parametrize(
    ("value", "bound", "kept"),
    [
        (10, "<= 10", True),
        (10.5, "<= 10", False),
        (10, ">=10", True),
        (9, " >= 1e1 ", False),
        (1.5e5, "<= 2e5", True),
        (float("nan"), "<= 10", False),
    ],
)
def test_a_bound_includes_its_limit(value, bound, kept):
    assert (excess(value, bound) <= 0) is kept


def test_a_violated_constraint_rejects_before_training(evaluate, monkeypatch):
    monkeypatch.setattr("nas.evaluation.train", lambda *args: pytest.fail("it was trained"))
    with pytest.raises(TrialError) as caught:
        evaluate(constraints={"parameters": "<= 100"})
    assert caught.value.kind == "constraint"
    count = measure("parameters", network(DENSE))
    assert caught.value.message == f"parameters = {count:g} is not <= 100"


def test_a_kept_constraint_lets_the_training_go_on(evaluate):
    count = measure("parameters", network(DENSE))
    assert evaluate(constraints={"parameters": f"<= {count}"}).values["parameters"] == count


def fusion_that(fails):
    @nas.register("fusion", "failing")
    class Failing(nn.Module):
        def __init__(self, dims):
            super().__init__()
            self.out_dim = dims[0]

        def forward(self, features, present=None, return_gates=False):
            fails()

    return DENSE | {"fusion": {"failing": {}}}


def raising(error):
    def fails():
        raise error

    return fails


@pytest.mark.parametrize(
    ("fails", "kind", "message"),
    [
        (raising(ValueError("bad\nluck")), "error", "ValueError: bad"),
        (raising(KeyError()), "error", "KeyError: KeyError"),
        (raising(MemoryError()), "out_of_memory", "MemoryError"),
        (raising(torch.OutOfMemoryError("CUDA out of memory")), "out_of_memory", "CUDA out of memory"),
        (lambda: torch.empty(2**60), "out_of_memory", "can't allocate memory|not enough memory"),
    ],
    ids=["error", "error without a message", "memory of Python", "memory of a GPU", "memory of torch"],
)
def test_what_a_component_raises_is_a_failure_of_its_trial_with_the_reason(evaluate, fails, kind, message):
    with pytest.raises(TrialError, match=message) as caught:
        evaluate(fusion_that(fails))
    assert caught.value.kind == kind
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is not None


def test_an_objective_of_a_plugin_is_measured_like_any_other(evaluate):
    @nas.register("objective", "depth")
    class Depth:
        direction, cheap = "minimize", True

        def __call__(self, context):
            return len(list(context.network.children()))

    @nas.register("objective", "error_rate")
    class ErrorRate:
        direction, cheap = "minimize", False

        def __call__(self, context):
            return (context.outputs.argmax(1) != context.labels).double().mean()

    evaluation = evaluate(objectives=["accuracy", "depth", "error_rate"])
    assert evaluation.values["depth"] == 4
    assert evaluation.values["error_rate"] == pytest.approx(1 - evaluation.values["accuracy"])


# Measured before the training


class Wide(nn.Module):
    """A network of two layers: while the second runs, its input is alive."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(10, 5000), nn.Linear(5000, 7000)

    def forward(self, inputs, masks, present):
        return self.two(self.one(inputs["x"]))


def test_the_memory_is_that_of_weights_and_of_what_is_alive_at_once():
    network = Wide()
    sample = Batch({"x": torch.zeros(1, 10)}, torch.zeros(1, dtype=torch.long))
    task = Task("classification", ("a", "b"))
    measured = create("objective", "memory_mb")(Context(network, {}, task, sample))
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert measured == pytest.approx(4 * (weights + 5000 + 7000) / 2**20, rel=1e-6)


def test_the_latency_is_the_median_of_passes_after_a_warm_up(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("nas.objectives.latency_ms.time.perf_counter", lambda: next(clock) ** 2 / 1000)
    sample = Batch({"x": torch.zeros(1, 10)}, torch.zeros(1, dtype=torch.long))
    measured = create("objective", "latency_ms")(Context(Wide(), {}, Task("classification", ("a",)), sample))
    passes = [(2 * i + 1) ** 2 - (2 * i) ** 2 for i in range(5, 35)]
    assert measured == pytest.approx(np.median(passes))


@pytest.mark.parametrize("name", ["latency_ms", "memory_mb"])
def test_what_is_measured_before_the_training_can_be_a_constraint(evaluate, name):
    with pytest.raises(TrialError, match=f"{name} = .* is not <= 1e-05"):
        evaluate(constraints={name: "<= 1e-05"})
    assert evaluate(constraints={name: ">= 1e-05"}).values[name] > 0
