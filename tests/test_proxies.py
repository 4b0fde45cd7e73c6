"""Zero-cost proxies against the formulas of their papers, on networks small enough to write down."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.datasets import Batch
from nas.modality import ModalitySpec, Task
from nas.network import build
from nas.objectives import Context
from nas.objectives.naswot import JITTER, log_determinant
from nas.registry import create
from nas.results.records import COMPLETE, History, Record
from nas.results.remarks import remarks
from nas.space import Architecture

TASK = Task("classification", ("low", "middle", "high"))
PROXIES = ["synflow", "snip", "grad_norm", "naswot"]


class Plain(nn.Module):
    """A chain of layers in the place of a network."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.task = TASK

    def forward(self, inputs, masks=None, present=None):
        return self.layers(inputs["x"])


def context(network, samples=12):
    generator = torch.Generator().manual_seed(3)
    inputs = {"x": torch.randn(samples, 4, generator=generator)}
    batch = Batch(inputs, torch.arange(samples) % 3)
    one = Batch({"x": inputs["x"][:1]}, batch.labels[:1])
    return Context(network, {}, TASK, one, batch=batch)


def measure(name, network):
    return create("objective", name)(context(network))


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return Plain(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_synflow_of_linear_layers_is_their_number_times_what_flows_through_the_absolute_weights():
    torch.manual_seed(1)
    network = Plain(*(nn.Linear(a, b, bias=False) for a, b in ((4, 5), (5, 2), (2, 3))))
    flow = torch.ones(4)
    for layer in network.layers:
        flow = layer.weight.detach().abs() @ flow
    assert measure("synflow", network) == pytest.approx(math.log(3 * flow.sum().item()))


def test_snip_and_grad_norm_are_sums_over_the_gradients_by_finite_differences(mlp):
    batch = context(mlp).some
    exact = copy.deepcopy(mlp).double()

    def loss():
        return F.cross_entropy(exact({"x": batch.inputs["x"].double()}), batch.labels).item()

    snip = grad_norm = 0.0
    with torch.no_grad():
        for parameter in exact.parameters():
            slopes = []
            for index in range(parameter.numel()):
                value = parameter.view(-1)[index].item()
                ends = []
                for step in (1e-5, -1e-5):
                    parameter.view(-1)[index] = value + step
                    ends.append(loss())
                parameter.view(-1)[index] = value
                slopes.append((ends[0] - ends[1]) / 2e-5)
                snip += abs(value * slopes[-1])
            grad_norm += np.linalg.norm(slopes)
    assert measure("snip", mlp) == pytest.approx(snip, rel=1e-4)
    assert measure("grad_norm", mlp) == pytest.approx(grad_norm, rel=1e-4)


def test_naswot_is_the_log_determinant_of_the_share_of_units_on_which_samples_agree(mlp):
    inputs = context(mlp).some.inputs["x"]
    codes = (mlp.layers[0](inputs) > 0).numpy()
    agreeing = np.array([[(one == other).mean() for other in codes] for one in codes])
    expected = np.linalg.slogdet(agreeing + JITTER * np.eye(len(codes)))[1]
    assert measure("naswot", mlp) == pytest.approx(expected)


def test_naswot_is_largest_where_samples_share_nothing_and_smallest_where_they_share_all():
    different, equal = torch.eye(2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)
    assert log_determinant(different) == pytest.approx(2 * math.log(1 + JITTER))
    assert log_determinant(equal) == pytest.approx(math.log((1 + JITTER) ** 2 - 1))


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_leaves_the_network_and_the_generators_as_they_were_and_says_the_same_again(name, mlp):
    mlp.train()
    state, generator = copy.deepcopy(mlp.state_dict()), torch.get_rng_state()
    first, again = measure(name, mlp), measure(name, mlp)
    assert first == again
    assert mlp.training
    assert all(parameter.grad is None for parameter in mlp.parameters())
    assert all(torch.equal(value, state[key]) for key, value in mlp.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_judges_a_whole_network_before_its_training(name):
    modalities = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
    tree = {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {"small_world": {"layers": 1, "topology": {"learnable_watts_strogatz": {}}}},
        "fusion": {"early": {}},
        "head": {"linear": {}},
    }
    network = build(Architecture(tree), modalities, TASK)
    batch = Batch(
        {"image": torch.randn(6, 1, 8, 8), "text": torch.randint(1, 7, (6, 5))}, torch.arange(6) % 3
    )
    one = Batch({key: value[:1] for key, value in batch.inputs.items()}, batch.labels[:1])
    objective = create("objective", name)
    assert objective.cheap
    assert math.isfinite(objective(Context(network, modalities, TASK, one, batch=batch)))


def test_how_well_a_proxy_tells_the_order_of_the_ends_is_remarked():
    records = [
        Record(
            number, 0, Architecture({"dim": number + 1}), COMPLETE, number, told=number,
            cheap={"parameters": 10.0 * number, "snip": float(-number)},
            metrics=({"accuracy": number / 20},),
            values={"accuracy": number / 20, "parameters": 10.0 * number, "snip": float(-number)},
        )
        for number in range(12)
    ]  # fmt: skip
    objectives = {"accuracy": "maximize", "parameters": "minimize"}
    [told] = [line for line in remarks(History(records, objectives)) if "Rank correlation" in line]
    assert told == "Rank correlation with accuracy over 12 networks: parameters +1.00, snip -1.00."
    assert not any("Rank" in line for line in remarks(History(records[:9], objectives)))
