"""The space of everything, `{}`, on the data that ship with the package: each point builds and learns."""

import numpy as np
import pytest
import torch

import nas
from nas.network import build
from nas.space.assemble import assemble


@pytest.fixture(scope="module")
def dataset():
    return nas.load_dataset("avt_digits")


@pytest.mark.parametrize("seed", range(6))
def test_random_points_of_the_space_of_everything_learn(dataset, seed):
    space = assemble({}, dataset.modalities)
    batch = dataset.splits["train"].batch(torch.arange(4))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        network = build(space.sample(rng), dataset.modalities, dataset.task, seed)
        outputs = network(batch.inputs, batch.masks, batch.present)
        assert outputs.shape == (4, 10)
        outputs.square().mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_every_fusion_of_three_modalities_is_part_of_it(dataset):
    fusions = assemble({}, dataset.modalities).to_data()["fusion"]["choice"]
    assert set(fusions) == set(nas.available("fusion")) - {"sigmoid_gate"}  # which takes two


def test_every_encoder_that_fits_is_part_of_it(dataset):
    encoders = assemble({}, dataset.modalities).to_data()["encoders"]
    assert set(encoders["image"]["choice"]) >= {"cnn", "resnet", "vit"}
    assert set(encoders["text"]["choice"]) >= {"attention", "bag", "gru", "ngram_bag", "transformer"}
    assert set(encoders["audio"]["choice"]) >= {"conv1d", "gru", "spectrogram_cnn", "transformer"}
