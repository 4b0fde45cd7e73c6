"""`identifiability: true`: a trial says whether what it has learned of its wiring is a finding."""

import numpy as np
import pytest
import torch
from torch import nn

import nas
from nas.datasets import TensorSplit
from nas.experiment import Training
from nas.topologies._candidates import candidates
from nas.training import train
from nas.training.identifiability import STARTS

UNITS, K = 32, 4
SETTINGS = Training(
    epochs=8, batch_size=64, learning_rate=0.02, schedule="constant", search_phase=0.75, identifiability=True
)


class Alone(nn.Module):
    """A sparse layer in the place of a network; its outputs are the classes."""

    def __init__(self, topology, seed=0, **options):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nas.SparseLinear(UNITS, UNITS, topology, seed=seed, **options)
        self.task = nas.Task("classification", tuple(map(str, range(UNITS))))

    def forward(self, inputs, masks=None, present=None):
        return self.layer(inputs["x"])


def planted(order):
    """The class is the unit whose lattice sources have the largest sum; the inputs come in `order`."""
    x = torch.randn(2560, UNITS, generator=torch.Generator().manual_seed(0))
    lattice = candidates(UNITS, UNITS, K, None, 0).at(0.0).mask()
    labels = (x @ torch.from_numpy(lattice).float().t()).argmax(1)
    x = x[:, order]
    return TensorSplit({"x": x[:2048]}, labels[:2048]), TensorSplit({"x": x[2048:]}, labels[2048:])


def end_of(network, settings=SETTINGS, order=range(UNITS), seed=0):
    """The measures at the end of a training."""
    return train(network, *planted(list(order)), settings, seed).wiring["wiring"]["end"]


def betas(measures):
    return [measures[f"beta_from/{start}"] for start in STARTS]


def test_a_planted_lattice_is_found_from_every_start_and_identifiable():
    network = Alone({"learnable_watts_strogatz": {"k": K}})
    found = end_of(network)["layer"]
    assert found["identifiable"]
    assert max(betas(found)) < 0.1
    assert network.layer.beta.item() < 0.1
    assert found["spread"] == pytest.approx(np.ptp(betas(found)))


def test_without_an_order_of_the_inputs_the_start_decides_and_the_verdict_says_so():
    shuffled = np.random.default_rng(0).permutation(UNITS)
    found = end_of(Alone({"learnable_watts_strogatz": {"k": K}}), order=shuffled)["layer"]
    assert not found["identifiable"]
    assert found["spread"] == pytest.approx(np.ptp(betas(found)))
    assert found["spread"] > 0.2
    assert betas(found) == sorted(betas(found))  # in the order of the starts


def test_budgets_are_judged_as_a_whole_matrix():
    network = Alone({"learnable_budgets": {"k": K}}, segments=[12, 20])
    found = end_of(network, SETTINGS.model_copy(update={"epochs": 1}))["layer"]
    keys = [[f"budgets_from/{start}/{row}/{column}" for row in "01" for column in "01"] for start in STARTS]
    shares = np.array([[found[key] for key in start] for start in keys]).reshape(3, 2, 2)
    np.testing.assert_allclose(shares.sum(2), 1, atol=1e-6)
    assert found["spread"] == pytest.approx(np.ptp(shares, axis=0).max())
    assert not any(key.startswith("beta_from") for key in found)


def test_the_check_changes_nothing_of_the_training_and_repeats_to_the_bit():
    ends, networks = [], []
    for asked in (True, True, False):
        networks.append(Alone({"learnable_watts_strogatz": {"k": K}}))
        ends.append(end_of(networks[-1], SETTINGS.model_copy(update={"epochs": 2, "identifiability": asked})))
    assert ends[0] == ends[1]
    assert ends[2]["layer"].items() <= ends[0]["layer"].items()
    states = [network.state_dict() for network in networks]
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


def test_a_search_is_stopped_when_the_wiring_of_the_trial_would_be_frozen():
    network, steps = Alone({"learnable_watts_strogatz": {"k": K}}), []
    network.register_forward_pre_hook(lambda module, inputs: steps.append(module.training))
    settings = Training(epochs=4, batch_size=512, search_phase=0.3, identifiability=True)
    end_of(network, settings)
    planned, searches = 4 * 4, 3 * 2 * 4  # the search ends in the second of four epochs of four steps
    assert sum(steps) == planned + searches


@pytest.mark.parametrize("topology", [{"fan_in_small_world": {"k": K}}, {"learnable_budgets": {"k": K}}])
def test_without_anything_to_learn_nothing_happens(topology, monkeypatch):
    monkeypatch.setattr("nas.training.identifiability.copy", None)
    network, steps = Alone(topology), []
    network.register_forward_pre_hook(lambda module, inputs: steps.append(module.training))
    assert "identifiable" not in end_of(network, Training(epochs=1, batch_size=512, identifiability=True))
    assert sum(steps) == 4


def test_a_restarted_search_has_another_start_and_other_random_sources():
    layer = Alone({"learnable_watts_strogatz": {"k": K}}).layer
    lattice, sources, weight = layer.relaxation.sources[1], layer.relaxation.sources[0], layer.weight.clone()
    layer.restart(0.9, seed=1)
    again = nas.SparseLinear(UNITS, UNITS, {"learnable_watts_strogatz": {"k": K, "beta": 0.9}}, seed=1)
    assert layer.beta.item() == pytest.approx(0.9)
    assert layer.edges == again.edges
    assert torch.equal(layer.relaxation.sources[1], lattice)
    assert not torch.equal(layer.relaxation.sources[0], sources)
    assert not torch.equal(layer.weight, weight)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        layer.restart(1.0, seed=1)
    layer.freeze()
    edges = layer.edges
    layer.restart(0.1, seed=2)
    assert layer.edges is edges
