"""Fixtures that all tests share.

`registrations` (automatic) takes back what a test registered, and the fixtures of its module. `toy` is a
dataset plugin of two modalities that loads in milliseconds; `write_experiment` writes an experiment file that
uses it.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from nas import registry

settings.register_profile("nas", deadline=None, derandomize=True)  # the same on a busy machine, every time
settings.load_profile("nas")
os.environ.setdefault("RAY_worker_niceness", "0")  # by default Ray's workers give way to all other tests

TOY = '''\
"""`toy`: 64 samples of an image and a text, whose class is the brightest of three patches."""

import torch

import nas
from nas.datasets import TensorSplit

SIZES = {"train": 32, "validation": 16, "test": 16}


@nas.register("dataset", "toy")
class Toy:
    """An image (1, 8, 8) and a text of five ids out of seven; three classes."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(3, (64,), generator=generator)
        image = 0.3 * torch.randn(64, 1, 8, 8, generator=generator)
        image[torch.arange(64), 0, 2 * labels] += 2
        text = torch.randint(1, 7, (64, 5), generator=generator)
        text[:, 0] = labels + 1
        text[::2, 3:] = 0
        self.task = nas.Task("classification", ("low", "middle", "high"))
        self.modalities = {
            "image": nas.ModalitySpec("image", (1, 8, 8)),
            "text": nas.ModalitySpec("text", (5,), vocabulary=7),
        }
        parts = torch.arange(64).split(list(SIZES.values()))
        self.splits = {
            name: TensorSplit(
                {"image": image[part], "text": text[part]}, labels[part], {"text": text[part] != 0}
            )
            for name, part in zip(SIZES, parts)
        }
'''

EXPERIMENT = {
    "name": "toy",
    "data": "toy",
    "plugins": ["toy.py"],
    "space": {
        "present": "all",
        "dim": {"choice": [4, 8]},
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": "none",
        "fusion": {"choice": ["concat", "late"]},
        "head": "linear",
    },
    "search": {"sampler": "random", "trials": 2, "seed": 0},
    "training": {"epochs": 1, "batch_size": 16},
    "execution": {"workers": 1},
}


LONGEST = ("ray_search", "shared_study", "search_command", "ray_executor", "browser", "manifest", "export")


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that processes that share the files out end together."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


@pytest.fixture(autouse=True, scope="module")
def registrations_of_the_module():
    """Take back what fixtures of a module, or of all modules, registered or replaced."""
    left = [name for components in registry._components.values() for name in foreign(components)]
    assert not left, f"{left} have outlived their tests, or were registered by the import of a test module"
    with taken_back():
        yield


@pytest.fixture(autouse=True)
def registrations(registrations_of_the_module):
    """Take back what the test registered or replaced, built-in components excepted."""
    with taken_back():
        yield


@contextmanager
def taken_back():
    """At the end there are the components and plugins of the beginning, and all that are built in."""
    before = {kind: dict(components) for kind, components in registry._components.items()}
    modules = set(sys.modules)
    yield
    for kind, components in registry._components.items():
        for name in foreign(components):
            del components[name]
        components.update(before[kind])
    for name in set(sys.modules) - modules:
        if name.startswith("nas_plugin_"):
            del sys.modules[name]


def foreign(components) -> list[str]:
    """Names of the components that are not built in."""
    return [name for name, own in components.items() if not own.__module__.startswith("nas.")]


@pytest.fixture
def toy(tmp_path) -> Path:
    """The file of the plugin that registers the dataset `toy`, in `tmp_path`."""
    file = tmp_path / "toy.py"
    file.write_text(TOY)
    return file


@pytest.fixture
def write_experiment(toy):
    """Write an experiment on `toy` beside its plugin: `write_experiment(search={"trials": 3}) -> Path`.

    A mapping is merged into the section of that name, anything else replaces it; None leaves the
    section out. `space` and `data` are replaced as a whole. The file is `<name>.yaml`.
    """

    def write(**sections) -> Path:
        data = dict(EXPERIMENT)
        for key, value in sections.items():
            merges = isinstance(value, dict) and isinstance(data.get(key), dict) and key != "space"
            data[key] = data[key] | value if merges else value
        data = {key: value for key, value in data.items() if value is not None}
        file = toy.parent / f"{data.get('name', 'unnamed')}.yaml"
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        return file

    return write


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory) -> Path:
    """The folder of one uninterrupted search, made once: `toy.yaml`, `run`, `stdout`, `stderr`. Only read."""
    from searches import finished_search

    return finished_search(tmp_path_factory.getbasetemp())
