"""Encoders of images that came with the catalogue compute their formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nas
from nas.modality import ModalitySpec

IMAGE = ModalitySpec("image", (2, 9, 12))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def convolution(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """A convolution from its definition, one output pixel at a time."""
    size, stride, border = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    padded = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return np.einsum("bchwij,ocij->bohw", windows[:, :, ::stride, ::stride], array(layer.weight))


def normalised(x: np.ndarray, layer: nn.GroupNorm) -> np.ndarray:
    groups = x.reshape(len(x), layer.num_groups, -1)
    groups = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    weight, bias = (array(part)[:, None, None] for part in (layer.weight, layer.bias))
    return groups.reshape(x.shape) * weight + bias


def unit(x: np.ndarray, layer: nn.Sequential) -> np.ndarray:
    return normalised(convolution(x, layer[0]), layer[1])


def block(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    hidden = np.maximum(unit(x, layer.residual[0]), 0)
    shortcut = x if isinstance(layer.shortcut, nn.Identity) else unit(x, layer.shortcut)
    return np.maximum(unit(hidden, layer.residual[2]) + shortcut, 0)


def test_resnet_computes_its_formula():
    encoder = randomised(nas.create("encoder", "resnet", IMAGE, 7, width=8, blocks=2))
    x = torch.randn(3, *IMAGE.shape)
    stem, _, *blocks = encoder.layers
    maps = np.maximum(unit(array(x), stem), 0)
    for layer in blocks:
        maps = block(maps, layer)
    assert maps.shape == (3, 32, 3, 3)
    expected = maps.reshape(3, 32, 9).transpose(0, 2, 1) @ array(encoder.project.weight).T
    np.testing.assert_allclose(array(encoder(x)), expected + array(encoder.project.bias), atol=2e-5)


def test_resnet_pools_the_maps_of_large_images_into_a_grid():
    encoder = nas.create("encoder", "resnet", ModalitySpec("image", (3, 32, 32)), 7, width=8)
    x = torch.randn(2, 3, 32, 32)
    maps = array(encoder.layers(x))
    cells = maps.reshape(2, 32, 4, 2, 4, 2).mean((3, 5)).reshape(2, 32, 16).transpose(0, 2, 1)
    expected = cells @ array(encoder.project.weight).T + array(encoder.project.bias)
    np.testing.assert_allclose(array(encoder(x)), expected, atol=1e-5)


def test_resnet_has_twice_the_channels_and_half_the_size_in_every_stage():
    encoder = nas.create("encoder", "resnet", ModalitySpec("image", (3, 16, 16)), 7, width=8, blocks=1)
    shapes = []
    for layer in encoder.layers[2:]:
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    encoder(torch.randn(1, 3, 16, 16))
    assert shapes == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]


def test_vit_computes_its_formula_over_patches():
    encoder = randomised(nas.create("encoder", "vit", IMAGE, 7, grid=4, width=16, layers=2))
    x = torch.randn(3, *IMAGE.shape)
    patches = [  # 9 × 12 in a grid of 4: patches of 3 × 3, in three rows and four columns
        x[:, :, row : row + 3, column : column + 3].flatten(1)
        for row in range(0, 9, 3)
        for column in range(0, 12, 3)
    ]
    tokens = torch.stack(patches, 1) @ encoder.embed.weight.T + encoder.embed.bias + encoder.positions
    for ours in encoder.stack.layers:
        theirs = nn.TransformerEncoderLayer(16, 4, 64, 0.0, F.gelu, batch_first=True, norm_first=True)
        state = {name.replace("attention.", "self_attn."): part for name, part in ours.state_dict().items()}
        theirs.load_state_dict(state)
        tokens = theirs(tokens)
    norm = encoder.stack.norm
    tokens = F.layer_norm(tokens, (16,), norm.weight, norm.bias)
    expected = tokens @ encoder.project.weight.T + encoder.project.bias
    torch.testing.assert_close(encoder(x), expected, rtol=0, atol=1e-5)


def test_vit_fills_the_last_patches_up_with_zeros():
    encoder = nas.create("encoder", "vit", ModalitySpec("image", (1, 5, 5)), 7, grid=2)
    x = torch.randn(2, 1, 5, 5)
    corner = encoder._patches(x)[:, -1].reshape(2, 3, 3)
    expected = torch.zeros(2, 3, 3)
    expected[:, :2, :2] = x[:, 0, 3:, 3:]
    assert torch.equal(corner, expected)


@pytest.mark.parametrize("name", ["resnet", "vit"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (4, 17, 31), (3, 64, 64)])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_images_of_every_size_become_at_most_16_tokens_by_default(name, shape, batch):
    encoder = nas.create("encoder", name, ModalitySpec("image", shape), 6)
    tokens = encoder(torch.randn(batch, *shape))
    assert (len(tokens), tokens.shape[2]) == (batch, 6)
    assert 1 <= tokens.shape[1] <= 16


def test_samples_of_a_batch_do_not_see_each_other_in_training():
    encoder = nas.create("encoder", "resnet", IMAGE, 6).train()
    x = torch.randn(4, *IMAGE.shape)
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]), rtol=0, atol=1e-5)
