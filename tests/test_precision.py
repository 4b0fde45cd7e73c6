"""Training in fewer bits: what is computed, and what stays as it is."""

import pytest
import torch

from nas.datasets import load_dataset
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.registry import load_plugins
from nas.space import Architecture
from nas.training.precision import outputs_of, products

ARCHITECTURE = Architecture(
    {
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {"small_world": {"layers": 1, "topology": {"watts_strogatz": {}}}},
        "fusion": {"concat": {}},
        "head": {"linear": {}},
    }
)


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


def trained(dataset, **settings):
    evaluator = Evaluator(dataset, ["accuracy"], Training(epochs=2, batch_size=16, **settings))
    return evaluator(ARCHITECTURE, seed=1)


def test_bfloat16_computes_in_fewer_bits_and_keeps_weights_and_outputs(dataset):
    network = trained(dataset, precision="bfloat16").network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    batch = dataset.splits["validation"].batch(torch.arange(16))
    with torch.no_grad():
        full, half = (outputs_of(network, batch, precision) for precision in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.02 * full.abs().max()


def test_a_training_in_bfloat16_goes_as_one_in_float32(dataset):
    full, half = (trained(dataset, precision=precision) for precision in ("float32", "bfloat16"))
    losses = [[epoch["train_loss"] for epoch in run.epochs] for run in (full, half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_channels_last_changes_where_weights_lie_and_not_what_comes_out(dataset):
    plain, other = (trained(dataset, channels_last=flag) for flag in (False, True))
    assert any(
        weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in other.network.parameters()
        if weight.ndim == 4
    )
    for key in ("train_loss", "accuracy"):
        assert [e[key] for e in other.epochs] == pytest.approx([e[key] for e in plain.epochs], rel=1e-4)


def test_tf32_is_for_the_training_alone():
    with products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_a_gpu_trains_in_every_precision(dataset, precision):
    training = Training(epochs=2, batch_size=16, precision=precision, channels_last=True)
    evaluation = Evaluator(dataset, ["accuracy"], training, device="cuda")(ARCHITECTURE, seed=1)
    assert evaluation.values["accuracy"] >= 0
