"""Encoders of texts, sounds and vectors that came with the catalogue compute their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nas
from nas.encoders._transformer import TransformerLayer
from nas.encoders.ngram_bag import hash_ngrams
from nas.modality import ModalitySpec
from nas.space.assemble import assemble

TEXT = ModalitySpec("text", (7,), vocabulary=30)
AUDIO = ModalitySpec("audio", (1, 12, 10))
WAVE = ModalitySpec("audio", (2, 700))
TABLE = ModalitySpec("vector", (6,), columns=(1, 3, 1, 1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def affine(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + array(layer.bias)


def texts() -> Tensor:
    return torch.tensor([[5, 9, 2, 5, 1, 8, 3], [4, 7, 29, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0]])


def randomised(module: nn.Module) -> nn.Module:
    """No parameter, biases and norms included, is at a value that would hide it."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def torchs_layer(ours: TransformerLayer, width: int, heads: int) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
    )
    renamed = {name.replace("attention.", "self_attn."): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(renamed)
    return theirs


def torchs_stack(encoder: nn.Module, x: Tensor, padding: Tensor | None = None) -> Tensor:
    width = x.shape[-1]
    for layer in encoder.stack.layers:
        x = torchs_layer(layer, width, 4)(x, src_key_padding_mask=padding)
    norm = encoder.stack.norm
    return encoder.project(F.layer_norm(x, (width,), norm.weight, norm.bias))


# --- transformer ------------------------------------------------------------------------------------


def sinusoids(length: int, width: int) -> Tensor:
    table = torch.zeros(length, width)
    for place in range(length):
        for pair in range(width // 2):
            angle = place / 10_000 ** (2 * pair / width)
            table[place, 2 * pair], table[place, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    return table


def test_transformer_reads_a_text_as_torchs_layers_do():
    encoder = randomised(nas.create("encoder", "transformer", TEXT, 9, width=16, layers=2))
    ids, padding = texts(), texts() == 0
    expected = torchs_stack(encoder, encoder.steps.embedding(ids) + sinusoids(7, 16), padding)
    torch.testing.assert_close(encoder(ids)[~padding], expected[~padding], rtol=0, atol=1e-5)


def test_transformer_reads_every_frame_of_a_sound_as_a_token():
    encoder = randomised(nas.create("encoder", "transformer", AUDIO, 9, width=16))
    sounds = torch.randn(3, *AUDIO.shape)
    frames = [encoder.steps.linear(sounds[:, 0, :, frame]) for frame in range(10)]
    expected = torchs_stack(encoder, torch.stack(frames, 1) + sinusoids(10, 16))
    torch.testing.assert_close(encoder(sounds), expected, rtol=0, atol=1e-5)


def test_long_sounds_have_their_frames_stacked():
    encoder = nas.create("encoder", "transformer", ModalitySpec("audio", (1, 4, 300)), 9, width=16)
    sounds = torch.randn(2, 1, 4, 300)
    vectors, _ = encoder.steps(sounds, None)
    assert vectors.shape == (2, 100, 16)
    third = encoder.steps.linear(sounds[:, 0, :, 6:9].flatten(1))  # channel by channel, three frames each
    torch.testing.assert_close(vectors[:, 2], third)


# --- gru --------------------------------------------------------------------------------------------


def recurrence(network: nn.GRU, inputs: np.ndarray) -> np.ndarray:
    """States of one sequence `(T, width)`, gate by gate (Cho et al. 2014, in torch's order of the gates)."""
    for layer in range(network.num_layers):
        w, v, b, c = (array(getattr(network, f"{part}_l{layer}")) for part in PARTS)
        state, states = np.zeros(network.hidden_size), []
        for x in inputs:
            own, past = np.split(w @ x + b, 3), np.split(v @ state + c, 3)
            reset, update = (1 / (1 + np.exp(-own[gate] - past[gate])) for gate in (0, 1))
            candidate = np.tanh(own[2] + reset * past[2])
            state = (1 - update) * candidate + update * state
            states.append(state)
        inputs = np.stack(states)
    return inputs


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gru_computes_its_recurrence_over_the_real_tokens_alone(bidirectional):
    encoder = nas.create("encoder", "gru", TEXT, 9, width=8, layers=2, bidirectional=bidirectional)
    randomised(encoder)
    tokens = encoder(texts())
    for row, ids in enumerate(texts()):
        embedded = array(encoder.steps.embedding(ids[ids != 0]))
        states = recurrence(encoder.forwards, embedded)
        if bidirectional:
            states = np.concatenate([states, recurrence(encoder.backwards, embedded[::-1])[::-1]], 1)
        np.testing.assert_allclose(
            array(tokens[row, : len(embedded)]), affine(encoder.project, states), atol=1e-5
        )


def test_gru_passes_over_padding_wherever_it_stands():
    encoder = nas.create("encoder", "gru", TEXT, 9, width=8, bidirectional=True)
    scattered, dense = torch.tensor([[0, 4, 0, 7, 29, 0, 0]]), torch.tensor([[4, 7, 29]])
    torch.testing.assert_close(encoder(scattered)[:, [1, 3, 4]], encoder(dense), rtol=0, atol=1e-6)


def test_gru_reads_the_frames_of_a_sound():
    encoder = nas.create("encoder", "gru", AUDIO, 9, width=8)
    sound = torch.randn(1, *AUDIO.shape)
    states = recurrence(encoder.forwards, affine(encoder.steps.linear, array(sound[0, 0]).T))
    np.testing.assert_allclose(array(encoder(sound)[0]), affine(encoder.project, states), atol=1e-5)


# --- bags -------------------------------------------------------------------------------------------


def test_bag_is_the_mean_of_the_real_embeddings():
    encoder = nas.create("encoder", "bag", TEXT, 9)
    means = [array(encoder.embedding(ids[ids != 0])).mean(0) for ids in texts()]
    expected = affine(encoder.project, np.stack(means))
    np.testing.assert_allclose(array(encoder(texts())[:, 0]), expected, atol=1e-6)


def bucket(ngram: tuple[int, ...], buckets: int) -> int:
    hashed = len(ngram)
    for code in ngram:
        hashed = (hashed * 1_103_515_245 + code + 1) % (2**31 - 1)
    return 1 + hashed % buckets


def test_ngram_bag_sums_the_embeddings_of_all_ngrams_of_two_to_five():
    encoder = nas.create("encoder", "ngram_bag", TEXT, 9, buckets=50)
    table = array(encoder.embedding.weight)
    for row, ids in enumerate(texts().tolist()):
        real = [code for code in ids if code]
        grams = [tuple(real[at : at + n]) for n in (2, 3, 4, 5) for at in range(len(real) - n + 1)]
        total = sum((table[bucket(gram, 50)] for gram in grams), np.zeros(16))
        token = array(encoder(texts())[row, 0])
        np.testing.assert_allclose(token, affine(encoder.project, total), atol=1e-5)


def test_ngrams_have_the_same_buckets_in_every_process():
    ids = torch.tensor([[1, 2, 3, 250_000]])
    assert hash_ngrams(ids, ids != 0, 2, 8192).tolist() == [[1908, 5603, 5341]]
    assert hash_ngrams(ids, ids != 0, 4, 8192).tolist() == [[7558]] == [[bucket((1, 2, 3, 250_000), 8192)]]


def test_ngrams_spread_over_the_buckets():
    ids = torch.randint(1, 40, (200, 50))
    counts = torch.bincount(hash_ngrams(ids, ids != 0, 3, 64).flatten(), minlength=65)
    assert counts[0] == 0
    distinct = len({tuple(window) for window in ids.unfold(1, 3, 1).flatten(0, 1).tolist()})
    assert counts[1:].min() > 0.6 * 200 * 48 / 64  # 9,600 in 64 buckets, of which 8 % are repeated
    assert distinct > 8000


def test_an_ngram_over_padding_is_none():
    ids = torch.tensor([[3, 0, 5, 6]])
    assert (hash_ngrams(ids, ids != 0, 2, 64) == 0).tolist() == [[True, True, False]]


def test_ngram_bag_refuses_texts_that_have_no_ngrams():
    with pytest.raises(ValueError, match="a text of 3 tokens has no n-grams of 4 or more"):
        nas.create("encoder", "ngram_bag", ModalitySpec("text", (3,), 9), 8, shortest=4)
    with pytest.raises(ValueError, match="n-grams of 3 to 2 tokens"):
        nas.create("encoder", "ngram_bag", TEXT, 8, shortest=3, longest=2)


# --- conv1d -----------------------------------------------------------------------------------------


def convolution(x: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
    """Of `(B, channels, T)`, from the definition."""
    [size], [stride], [border] = layer.kernel_size, layer.stride, layer.padding
    padded = np.pad(x, ((0, 0), (0, 0), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=2)[:, :, ::stride]
    result = np.einsum("bctk,ock->bot", windows, array(layer.weight))
    return result if layer.bias is None else result + array(layer.bias)[:, None]


def normalised(x: np.ndarray, layer: nn.GroupNorm) -> np.ndarray:
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * array(layer.weight)[:, None] + array(layer.bias)[:, None]


def pooled(x: np.ndarray) -> np.ndarray:
    return np.stack([x[:, :, at : at + 2].max(2) for at in range(0, x.shape[2], 2)], 2)


def layer_of_conv1d(x: np.ndarray, layer: nn.Sequential) -> np.ndarray:
    return pooled(np.maximum(normalised(convolution(x, layer[0]), layer[1]), 0))


def test_conv1d_computes_its_formula_on_a_spectrogram():
    encoder = randomised(nas.create("encoder", "conv1d", AUDIO, 9, width=8))
    x = torch.randn(3, *AUDIO.shape)
    hidden = array(x[:, 0])
    for layer in encoder.layers:
        hidden = layer_of_conv1d(hidden, layer)
    assert hidden.shape == (3, 8, 3)
    expected = affine(encoder.project, hidden.transpose(0, 2, 1))
    np.testing.assert_allclose(array(encoder(x)), expected, atol=1e-5)


def test_conv1d_computes_its_formula_on_a_waveform():
    encoder = randomised(nas.create("encoder", "conv1d", WAVE, 9, width=8, layers=1))
    x = torch.randn(3, *WAVE.shape)
    whole = np.pad(array(x), ((0, 0), (0, 0), (0, 4)))
    hidden = layer_of_conv1d(convolution(whole, encoder.layers[0]), encoder.layers[1])
    expected = affine(encoder.project, hidden.transpose(0, 2, 1))
    assert expected.shape == (3, 22, 9)
    np.testing.assert_allclose(array(encoder(x)), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["conv1d", "gru", "transformer"])
@pytest.mark.parametrize("shape", [(1, 3, 1), (1, 20, 700), (1,), (16_001,), (2, 333)])
def test_sounds_of_every_shape_become_at_most_128_tokens(name, shape):
    encoder = nas.create("encoder", name, ModalitySpec("audio", shape), 5)
    mask = torch.ones(2, shape[-1], dtype=torch.bool)
    mask[1, 1:] = False
    tokens = encoder(torch.randn(2, *shape))
    real = encoder.token_mask(mask)
    assert tokens.shape == (2, real.shape[1], 5)
    assert tokens.shape[1] <= 128
    assert real.sum(1).tolist() == [tokens.shape[1], 1]


@pytest.mark.parametrize("name", ["conv1d", "gru", "transformer"])
def test_batches_of_another_shape_are_refused(name):
    encoder = nas.create("encoder", name, AUDIO, 5)
    with pytest.raises(
        ValueError, match=r"\(2, 1, 11, 10\) is not a batch of sounds of shape \('batch', 1, 12"
    ):
        encoder(torch.zeros(2, 1, 11, 10))


# --- vectors ----------------------------------------------------------------------------------------


def test_identity_returns_features_that_are_wide_enough_and_projects_others():
    x = torch.randn(3, 6)
    encoder = nas.create("encoder", "identity", ModalitySpec("vector", (6,)), 6)
    assert torch.equal(encoder(x)[:, 0], x)
    assert not list(encoder.parameters())
    encoder = nas.create("encoder", "identity", ModalitySpec("vector", (6,)), 4)
    np.testing.assert_allclose(array(encoder(x)[:, 0]), affine(encoder.project, array(x)), atol=1e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_mlp_computes_its_formula(layers):
    encoder = randomised(nas.create("encoder", "mlp", TABLE, 9, width=5, layers=layers, dropout=0.5)).eval()
    x = torch.randn(4, 6)
    hidden = array(x)
    for part in encoder.hidden:
        hidden = np.maximum(affine(part[0], hidden), 0)
    np.testing.assert_allclose(array(encoder(x)[:, 0]), affine(encoder.project, hidden), atol=1e-5)
    counts = (6 * 5 + 5) + (layers - 1) * (5 * 5 + 5) + (5 * 9 + 9)
    assert sum(p.numel() for p in encoder.parameters()) == counts


def test_identity_keeps_a_sequence_of_features():
    encoder = nas.create("encoder", "identity", ModalitySpec("vector", (5, 6)), 6)
    x = torch.randn(3, 5, 6)
    assert torch.equal(encoder(x), x)
    with pytest.raises(ValueError, match="has 2 axes; 3 expected"):
        encoder(x[0])


def test_tabular_makes_a_token_of_each_column():
    encoder = randomised(nas.create("encoder", "tabular", TABLE, 9, width=16, layers=2))
    x = torch.randn(4, 6)
    tokens, start = [], 0
    for column, width in enumerate(TABLE.columns):
        part = x[:, start : start + width] @ encoder.weight[start : start + width]
        tokens.append(part + encoder.bias[column])
        start += width
    expected = torchs_stack(encoder, torch.stack(tokens, 1))
    torch.testing.assert_close(encoder(x), expected, rtol=0, atol=1e-5)


def test_tabular_looks_an_embedding_up_for_a_category():
    encoder = nas.create("encoder", "tabular", ModalitySpec("vector", (3,), columns=(3,)), 9, width=16)
    one_hot = torch.eye(3)[[1]]
    expected = torchs_stack(encoder, (encoder.weight[1] + encoder.bias[0])[None, None])
    torch.testing.assert_close(encoder(one_hot), expected, rtol=0, atol=1e-5)


def test_wide_vectors_share_tokens():
    encoder = nas.create("encoder", "tabular", ModalitySpec("vector", (200,)), 9)
    assert encoder(torch.randn(2, 200)).shape == (2, 50, 9)


def test_columns_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match=r"columns of \(1, 3\) numbers do not add up to the shape \(6,\)"):
        ModalitySpec("vector", (6,), columns=(1, 3))


def test_a_spec_with_columns_is_stored_and_read():
    assert ModalitySpec.from_data(TABLE.to_data()) == TABLE
    assert "columns" not in TEXT.to_data()


# --- what fits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "name", "fits"),
    [
        ((3, 1, 5), "cnn", False),
        ((3, 1, 5), "vit", True),
        ((3, 1, 5), "resnet", True),
        ((3, 2, 2), "cnn", True),
    ],
)
def test_encoders_that_cannot_read_a_shape_are_left_out_before_sampling(shape, name, fits):
    space = assemble({}, {"photo": ModalitySpec("image", shape)}).to_data()
    assert (name in space["encoders"]["photo"]["choice"]) == fits


def test_an_encoder_that_cannot_read_a_shape_is_refused_by_its_key_path():
    wave = {"sound": ModalitySpec("audio", (800,))}
    with pytest.raises(nas.RequestError) as caught:
        assemble({"encoders": {"sound": "spectrogram_cnn"}}, wave)
    assert str(caught.value) == (
        "encoders.sound: encoder 'spectrogram_cnn' reads audio samples of a shape of at least (1, 2, 2), "
        "not (800,); fitting: conv1d, gru, transformer"
    )
