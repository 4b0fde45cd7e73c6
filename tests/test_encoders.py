"""Encoders compute their formulas, whatever the batch and the padding."""

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nas
from nas.attention import MultiHeadAttention, heads_for
from nas.modality import ModalitySpec

IMAGE = ModalitySpec("image", (3, 9, 8))
AUDIO = ModalitySpec("audio", (1, 12, 10))
TEXT = ModalitySpec("text", (7,), vocabulary=30)
CONVOLUTIONS = [("cnn", IMAGE), ("spectrogram_cnn", AUDIO)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def convolution(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """3×3 convolution with a border of zeros, from the definition."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = [padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    weight = array(layer.weight).reshape(*layer.weight.shape[:2], 9)
    return np.einsum("pbchw,ocp->bohw", np.stack(patches), weight) + array(layer.bias)[:, None, None]


def max_pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    corners = [x[:, :, i:height:2, j:width:2] for i in range(2) for j in range(2)]
    return np.max(corners, axis=0)


def texts() -> Tensor:
    return torch.tensor([[5, 9, 2, 5, 1, 8, 3], [4, 7, 29, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0]])


# --- convolutions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "spec"), CONVOLUTIONS)
def test_convolution_encoders_compute_their_formula(name, spec):
    encoder = nas.create("encoder", name, spec, 11, width=8)
    x = torch.randn(5, *spec.shape)
    hidden = max_pool(np.maximum(convolution(array(x), encoder.conv1), 0))
    pooled = np.maximum(convolution(hidden, encoder.conv2), 0).mean((2, 3))
    expected = pooled @ array(encoder.project.weight).T + array(encoder.project.bias)
    np.testing.assert_allclose(array(encoder(x)[:, 0]), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "spec"), CONVOLUTIONS)
def test_convolution_encoders_have_the_parameters_of_their_formula(name, spec):
    c, w, dim = spec.shape[0], 32, 20
    expected = (9 * c * w + w) + (9 * w * 2 * w + 2 * w) + (2 * w * dim + dim)
    encoder = nas.create("encoder", name, spec, dim)
    assert sum(p.numel() for p in encoder.parameters()) == expected


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 8, 8), (3, 8, 8), (4, 17, 31)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_cnn_reads_any_number_of_channels_and_small_images(shape, batch):
    encoder = nas.create("encoder", "cnn", ModalitySpec("image", shape), 6, width=8)
    assert encoder(torch.randn(batch, *shape)).shape == (batch, 1, 6)


@pytest.mark.parametrize("shape", [(3, 1, 5), (8, 8)])
def test_cnn_names_the_shapes_it_can_read(shape):
    with pytest.raises(ValueError, match=rf"at least \(1, 2, 2\), not {re.escape(str(shape))}"):
        nas.create("encoder", "cnn", ModalitySpec("image", shape), 8)


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 1, 9, 8)])
def test_cnn_refuses_batches_of_another_rank_or_number_of_channels(shape):
    with pytest.raises(ValueError, match=r"not a batch of shape \(batch, 3, height, width\)"):
        nas.create("encoder", "cnn", IMAGE, 8)(torch.zeros(shape))


# --- attention --------------------------------------------------------------------------------------


def reference_attention(width: int, heads: int, ours: MultiHeadAttention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    nn.init.normal_(ours.in_proj_bias)
    nn.init.normal_(ours.out_proj.bias)
    theirs.load_state_dict(ours.state_dict())
    return theirs


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
def test_multi_head_attention_agrees_with_torch(heads, masked, crossed):
    ours = MultiHeadAttention(16, heads)
    theirs = reference_attention(16, heads, ours)
    query, memory = torch.randn(3, 5, 16), torch.randn(3, 6, 16)
    source = memory if crossed else query
    keep = torch.rand(source.shape[:2]) < 0.7 if masked else None
    if masked:
        keep[:, 0] = True
    attended, weights = ours(query, memory if crossed else None, keep)
    expected, averaged = theirs(query, source, source, key_padding_mask=None if keep is None else ~keep)
    torch.testing.assert_close(attended, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.mean(1), averaged, rtol=0, atol=1e-6)


def test_operation_counters_see_all_of_attention():
    batch, tokens, width = 3, 5, 16
    attention = MultiHeadAttention(width)
    with FlopCounterMode(display=False) as counter:
        attention(torch.randn(batch, tokens, width))
    projections = 2 * batch * tokens * width * (3 * width + width)
    assert counter.get_total_flops() == projections + 2 * (2 * batch * tokens * tokens * width)


@pytest.mark.parametrize(("width", "heads"), [(64, 4), (6, 2), (7, 1)])
def test_heads_default_to_the_largest_of_4_2_1_that_divides(width, heads):
    assert heads_for(width) == heads


@pytest.mark.parametrize("heads", [0, -2, 3])
def test_heads_that_do_not_divide_are_refused_with_both_numbers(heads):
    with pytest.raises(ValueError, match=rf"{heads} heads .* width 32"):
        nas.create("encoder", "attention", TEXT, 8, embedding=32, heads=heads)


def test_attention_encoder_computes_its_formula():
    encoder = nas.create("encoder", "attention", TEXT, 9)
    theirs = reference_attention(128, 4, encoder.attention)
    ids = texts()
    embedded, padding = encoder.embedding(ids), ids == 0
    attended, _ = theirs(embedded, embedded, embedded, key_padding_mask=padding)
    means = [attended[row, ~padding[row]].mean(0) for row in range(len(ids))]
    expected = torch.stack(means) @ encoder.project.weight.T + encoder.project.bias
    torch.testing.assert_close(encoder(ids)[:, 0], expected, rtol=0, atol=1e-6)


def test_attention_encoder_has_the_parameters_of_its_formula():
    e, dim = 64, 10
    expected = TEXT.vocabulary * e + (4 * e * e + 4 * e) + (e * dim + dim)
    encoder = nas.create("encoder", "attention", TEXT, dim, embedding=e)
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_padding_changes_nothing_in_a_text():
    encoder = nas.create("encoder", "attention", TEXT, 8)
    ids = texts()
    torch.testing.assert_close(encoder(ids)[1:2], encoder(ids[1:2, :3]), rtol=0, atol=1e-6)


def test_the_mask_and_not_the_id_decides_what_is_real():
    encoder = nas.create("encoder", "attention", TEXT, 8)
    ids = texts()
    mask = ids != 0
    torch.testing.assert_close(encoder(torch.where(mask, ids, 17), mask), encoder(ids), rtol=0, atol=0)


def test_a_text_without_tokens_is_the_bias_and_has_finite_gradients():
    encoder = nas.create("encoder", "attention", TEXT, 8)
    ids = torch.zeros(2, 7, dtype=torch.int64)
    ids[1, 0] = 3
    tokens = encoder(ids)
    torch.testing.assert_close(tokens[0, 0], encoder.project.bias)
    tokens.sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_attention_encoder_keeps_the_batch_axis(batch):
    assert nas.create("encoder", "attention", TEXT, 8)(texts()[:batch]).shape == (batch, 1, 8)


def test_attention_encoder_refuses_what_it_cannot_read():
    encoder = nas.create("encoder", "attention", TEXT, 8)
    with pytest.raises(ValueError, match="vocabulary"):
        nas.create("encoder", "attention", ModalitySpec("text", (7,)), 8)
    with pytest.raises(ValueError, match=r"\(batch, tokens\)"):
        encoder(texts()[0])
    with pytest.raises(ValueError, match=r"mask \(3, 4\) does not fit the token ids \(3, 7\)"):
        encoder(texts(), torch.ones(3, 4, dtype=torch.bool))


def test_encoders_declare_the_kinds_they_read():
    kinds = {name: nas.get("encoder", name).kinds for name in ("cnn", "attention", "spectrogram_cnn")}
    assert kinds == {"cnn": ("image",), "attention": ("text",), "spectrogram_cnn": ("audio",)}


def test_a_new_attention_is_scaled_like_torchs():
    bound = math.sqrt(6 / (4 * 64))
    weight = MultiHeadAttention(64).in_proj_weight
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
