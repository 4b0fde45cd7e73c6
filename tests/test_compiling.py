"""Compiled trainings: what is computed stays the same, and a machine that cannot compile says so."""

import shutil

import pytest
import torch

from nas.datasets import load_dataset
from nas.errors import TrialError
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.registry import load_plugins
from nas.space import Architecture

COMPILER = any(map(shutil.which, ("g++", "c++", "clang++")))
SETTINGS = {"epochs": 2, "batch_size": 16}


@pytest.fixture
def evaluate(toy):
    load_plugins([toy])
    dataset = load_dataset("toy")
    dataset.modalities = {"text": dataset.modalities["text"]}
    wiring = {"topology": {"watts_strogatz": {"k": 4}}, "rewiring": {"set": {}}, "dropout": 0.3}
    tree = {
        "dim": 8,
        "encoders": {"text": {"bag": {}}},
        "connector": {"small_world": {"layers": 1} | wiring},
        "fusion": {"concat": {}},
        "head": {"linear": {}},
    }

    def evaluate(compiles):
        evaluator = Evaluator(dataset, ["accuracy"], Training(**SETTINGS), compiles=compiles)
        return evaluator(Architecture(tree), seed=1)

    yield evaluate
    torch._dynamo.reset()


@pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler")
def test_a_compiled_training_gives_what_the_plain_one_gives(evaluate):
    plain, compiled = evaluate(False), evaluate(True)
    for key in ("train_loss", "accuracy"):
        assert [e[key] for e in compiled.epochs] == pytest.approx([e[key] for e in plain.epochs], rel=1e-4)
    states = [one.network.state_dict() for one in (plain, compiled)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4)


def test_a_machine_that_cannot_compile_says_so(evaluate, monkeypatch, tmp_path):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(TrialError, match=r"torch.compile fails: .*; it needs a C\+\+ compiler"):
        evaluate(True)
