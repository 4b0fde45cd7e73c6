"""SmallWorldBench: a search space of which every network has been trained."""

from pathlib import Path

from nas.datasets import load_dataset
from nas.documents import read_document
from nas.space import SearchSpace
from nas.space.assemble import assemble

FILE = Path(__file__).with_name("small_world_bench.npz")
SEEDS = 3
TRAINING = {"epochs": 8, "batch_size": 64, "label_smoothing": 0.1}


def space() -> SearchSpace:
    """The closed space: 624 networks for the three modalities of `avt_digits`."""
    document = read_document(Path(__file__).with_name("space.yaml"))
    return assemble(document.data, load_dataset("avt_digits").modalities)
