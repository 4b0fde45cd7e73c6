"""Padding changes nothing: neither what stands there nor how much of it there is."""

import pytest
import torch
from torch import Tensor, nn

import nas
from nas.modality import ModalitySpec
from nas.network import _pool

SOUNDS = [(1, 12, 10), (1, 4, 300), (700,), (2, 700)]
READERS = [
    (name, shape)
    for name in nas.available("encoder")
    for shape in SOUNDS
    if "audio" in (known := nas.get("encoder", name)).kinds and len(shape) in map(len, known.layouts["audio"])
]

TEXTS = [
    name
    for name in nas.available("encoder")
    if "text" in nas.get("encoder", name).kinds and not hasattr(nas.get("encoder", name), "extra")
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def encoder(name: str, spec: ModalitySpec) -> nn.Module:
    """An encoder of which no parameter, but for a vector of padding, is at a value that would hide it."""
    module = nas.create("encoder", name, spec, 5)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.zeros_(part.weight[part.padding_idx])
    return module


def features(module: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of the tokens that are real, as a network takes it."""
    tokens = module(x, mask)
    if mask is not None and hasattr(module, "token_mask"):
        mask = module.token_mask(mask)
    return _pool(tokens, mask)


@pytest.mark.parametrize("name", TEXTS)
def test_the_padding_of_a_text_changes_nothing(name):
    module = encoder(name, ModalitySpec("text", (9,), vocabulary=30))
    lengths, ids = [9, 6, 5], torch.randint(1, 30, (3, 9))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    found = features(module, ids * mask, mask)
    assert torch.equal(features(module, torch.where(mask, ids, 17), mask), found)
    for row, length in enumerate(lengths):
        text = ids[row : row + 1, :length]
        alone = features(module, text, torch.ones_like(text, dtype=torch.bool))
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), READERS)
def test_the_padding_of_a_sound_changes_nothing(name, shape):
    module = encoder(name, ModalitySpec("audio", shape))
    lengths = [shape[-1], shape[-1] // 2 + 1, 4]
    mask = torch.arange(shape[-1]) < torch.tensor(lengths)[:, None]
    padding = ~mask.view(3, *[1] * (len(shape) - 1), -1)
    sounds = torch.randn(3, *shape)
    found = features(module, sounds, mask)
    assert torch.equal(features(module, sounds.masked_fill(padding, float("nan")), mask), found)
    for row, length in enumerate(lengths):
        alone = features(module, sounds[row : row + 1, ..., :length], None)
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), READERS)
def test_a_sound_that_is_padding_altogether_is_finite(name, shape):
    module = encoder(name, ModalitySpec("audio", shape))
    tokens = module(torch.randn(2, *shape), torch.zeros(2, shape[-1], dtype=torch.bool))
    tokens.sum().backward()
    assert tokens.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)
