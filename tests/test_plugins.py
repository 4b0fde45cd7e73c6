"""Plugins: those of this repository work, and an installed package's are found."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path
from torch.nn import functional as F

import nas
from nas.objectives import Context
from nas.search.setup import prepare

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins"
OURS = [
    ("fusion", "dropout_mean"),
    ("fusion", "product_of_experts"),
    ("topology", "hypercube"),
    ("dataset", "exclusive_or"),
    ("objective", "worst_class_recall"),
]


@pytest.fixture(autouse=True)
def _plugins():
    nas.require_plugins([PLUGINS])


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_the_plugins_of_this_repository_keep_the_contract(kind, name):
    nas.check_component(kind, name)


@pytest.mark.parametrize("file", sorted(PLUGINS.glob("*.py")), ids=lambda file: file.stem)
def test_plugins_use_the_public_interface_alone(file):
    assert not re.search(r"nas(\.\w+)*\._[a-z]|from nas\S* import _", file.read_text(encoding="utf-8"))


def test_product_of_experts_is_the_mean_of_the_product_of_gaussians():
    fusion = nas.create("fusion", "product_of_experts", [4, 4]).double()
    features = [torch.randn(3, 4, dtype=torch.float64) for _ in range(2)]
    present = torch.tensor([[True, True], [True, False], [False, False]])
    fused, gates = fusion(features, present, return_gates=True)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    for sample in range(3):
        for feature in range(4):
            density = torch.exp(-(grid**2) / 2)
            for modality, vectors in enumerate(features):
                if present[sample, modality]:
                    precision = F.softplus(fusion.sure[modality](vectors[sample]))[feature]
                    density = density * torch.exp(-precision * (grid - vectors[sample, feature]) ** 2 / 2)
            mean = (grid * density).sum() / density.sum()
            torch.testing.assert_close(fused[sample, feature], mean, rtol=0, atol=1e-6)
    assert gates["weights"].shape == (2, 3, 4)


@pytest.mark.parametrize("units", [2, 13, 64])
def test_hypercube_joins_units_that_differ_in_one_digit(units):
    edges = nas.create("topology", "hypercube").edges(units, units, seed=0)
    pairs = set(zip(edges.target.tolist(), edges.source.tolist(), strict=True))
    expected = {(a, b) for a in range(units) for b in range(units) if bin(a ^ b).count("1") == 1}
    assert pairs == expected
    adjacency = np.zeros((units, units))
    adjacency[edges.target, edges.source] = 1
    assert shortest_path(adjacency, unweighted=True).max() <= np.ceil(np.log2(units))


def test_neither_modality_of_exclusive_or_says_the_class_and_both_do():
    split = nas.load_dataset("exclusive_or", samples=2000).splits["train"]
    image, text = split.inputs["image"], split.inputs["text"]
    below = image[:, 0, 4:].mean((1, 2)) > image[:, 0, :4].mean((1, 2))
    second = (text == 2).any(1)
    for alone in (below, second):
        assert 0.45 < (alone == split.labels.bool()).double().mean() < 0.55
    assert torch.equal((below ^ second).long(), split.labels)


def test_worst_class_recall_is_that_of_the_class_that_fares_worst():
    outputs = torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 2, 1]])
    context = Context(None, {}, None, None, outputs, torch.tensor([0, 0, 1, 1]))
    assert nas.create("objective", "worst_class_recall")(context) == 0.5


def test_the_experiment_of_the_plugins_is_accepted():
    setup = prepare(ROOT / "experiments" / "plugins.yaml", [])
    assert list(setup.experiment.objectives) == ["worst_class_recall", "parameters"]
    assert "product_of_experts" in json.dumps(setup.space.to_data())


# --- entry points -----------------------------------------------------------------------------------

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "nas-of-a-stranger"
version = "1.0"

[project.entry-points."nas.plugins"]
stranger = "stranger"

[tool.setuptools]
packages = ["stranger"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with a package that pip has installed there, without a network."""
    folder = tmp_path_factory.mktemp("stranger")
    package = folder / "project" / "stranger"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        (PLUGINS / "hypercube.py").read_text().replace('"hypercube"', '"cube"')
    )
    (folder / "project" / "pyproject.toml").write_text(PROJECT)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site")]
    done = subprocess.run([*install, str(folder / "project")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_the_components_of_an_installed_package_are_found_checked_and_searched(site, write_experiment):
    done = run(site, "nas.components", "topology", "--check", "cube")
    assert (done.returncode, done.stdout) == (0, "topology cube keeps the contract\n"), done.stderr
    wired = {"small_world": {"topology": "cube", "layers": 1, "rewiring": "none", "dropout": 0.0}}
    file = write_experiment(
        space={
            "dim": 8,
            "encoders": {"image": {"cnn": {"width": 8}}, "text": {"bag": {"embedding": 8}}},
            "connector": wired,
            "fusion": "concat",
            "head": "linear",
        },
        search={"trials": 1},
    )
    done = run(site, "nas.search", str(file), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "cube" in done.stdout


def test_without_the_package_its_components_are_not_there(site):
    done = run(site.parent / "nowhere", "nas.components", "topology", "--check", "cube")
    assert done.returncode == 2
    assert "there is no topology 'cube'" in done.stderr
