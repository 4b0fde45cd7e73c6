"""Heads and the connector that does nothing compute their formulas."""

import numpy as np
import pytest
import torch
from torch import nn

import nas


def affine(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    weight, bias = (parameter.detach().numpy().astype(np.float64) for parameter in layer.parameters())
    return x @ weight.T + bias


def test_linear_head_is_a_linear_layer():
    head = nas.create("head", "linear", 6, 4)
    x = torch.randn(3, 6)
    np.testing.assert_allclose(head(x).detach().numpy(), affine(head.linear, x.numpy()), atol=1e-6)
    assert sum(p.numel() for p in head.parameters()) == 6 * 4 + 4


def test_mlp_head_has_one_hidden_layer():
    head = nas.create("head", "mlp", 6, 4, hidden=5).eval()
    x = torch.randn(3, 6)
    expected = affine(head.linear2, np.maximum(affine(head.linear1, x.numpy()), 0))
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-6)
    assert sum(p.numel() for p in head.parameters()) == (6 * 5 + 5) + (5 * 4 + 4)


def test_mlp_head_drops_units_in_training_alone():
    head = nas.create("head", "mlp", 6, 4, dropout=0.5)
    x = torch.randn(8, 6)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


@pytest.mark.parametrize("name", ["linear", "mlp"])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_heads_keep_the_batch_axis(name, batch):
    assert nas.create("head", name, 6, 4)(torch.randn(batch, 6)).shape == (batch, 4)


def test_no_connector_returns_the_list_itself():
    connector = nas.create("connector", "none", [4, 6])
    features = [torch.randn(2, 4), torch.randn(2, 6)]
    assert connector(features) is features
    assert connector.dims == [4, 6]
    assert not list(connector.parameters())
