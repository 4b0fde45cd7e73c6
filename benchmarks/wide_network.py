"""Time and memory of training a wide network whose connector is sparse, beside the masked dense one.

The connector has 3 layers of 2,049 units, 683 for each modality of avt_digits; encoders, fusion and head
are small. The masked dense network has the same masks and starts from the same weights, so both learn
the same; its layers multiply dense matrices, and its optimiser keeps them. One JSON line per figure:
ratios are theirs / ours, of the time of one epoch (validation and measures of the wiring included) and
of the peak memory of the whole process. Every measurement is a process of its own, in turns, one
thread unless OMP_NUM_THREADS says otherwise.

    python benchmarks/wide_network.py [--quick] [--dim 683] [--layers 3] [--repeats 5]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

import nas
from nas.datasets import TensorSplit
from nas.experiment import Training
from nas.network import Network
from nas.sparse import SparseLinear
from nas.training import train

WAYS = ("sparse", "masked", "untrained")
BATCH = 128


class MaskedLinear(nn.Module):
    """A sparse layer without sparse compute, of the same weights."""

    def __init__(self, layer: SparseLinear) -> None:
        super().__init__()
        self.dense = nn.Linear(layer.in_features, layer.out_features)
        self.register_buffer("mask", torch.from_numpy(layer.edges.mask()).float())
        with torch.no_grad():
            self.dense.weight[layer.target, layer.source] = layer.weight
            self.dense.bias.copy_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.dense.weight * self.mask, self.dense.bias)


def wide(dataset: object, dim: int, layers: int, density: float) -> Network:
    topology = {"erdos_renyi": {"density": density}}
    architecture = {
        "dim": dim,
        "encoders": {
            "image": {"cnn": {"width": 8}},
            "audio": {"spectrogram_cnn": {"width": 8}},
            "text": {"attention": {"embedding": 16}},
        },
        "connector": {"small_world": {"layers": layers, "topology": topology}},
        "fusion": {"concat": {}},
        "head": {"linear": {}},
    }
    return nas.build(architecture, dataset.modalities, dataset.task)


def measure(way: str, dim: int, layers: int, density: float, steps: int) -> dict[str, float]:
    """One training in this process; `untrained` stops before it."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dataset = nas.load_dataset("avt_digits")
    samples = dataset.splits["train"].batch(torch.arange(BATCH * steps))
    training = TensorSplit(samples.inputs, samples.labels, samples.masks)
    network = wide(dataset, dim, layers, density)
    if way == "masked":
        sparse = network.connector.layers
        network.connector.layers = nn.ModuleList(MaskedLinear(layer) for layer in sparse)
        del sparse
    found = {"seconds": 0.0, "loss": 0.0}
    if way != "untrained":
        settings = Training(epochs=1, batch_size=BATCH, learning_rate=1e-3)
        started = time.perf_counter()
        epoch = train(network, training, dataset.splits["validation"], settings, seed=0)
        found = {"seconds": time.perf_counter() - started, "loss": epoch.train_loss}
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return found | {"gib": int(status["VmHWM"].split()[0]) / 2**20}


def measured(*arguments: object) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return found


def compare(dim: int, layers: int, density: float, steps: int, repeats: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            runs[way].append(measured(way, dim, layers, density, steps))
    place: dict[str, float] = {
        "units": 3 * dim,
        "layers": layers,
        "density": density,
        "batch": BATCH,
        "steps": steps,
        "repeats": repeats,
        "threads": int(os.environ["OMP_NUM_THREADS"]),
    }
    for figure, name in (("training_time_s", "seconds"), ("peak_memory_gib", "gib")):
        sparse, masked = ([run[name] for run in runs[way]] for way in ("sparse", "masked"))
        line = {"figure": figure} | place | {"sparse": spread(sparse), "masked_dense": spread(masked)}
        line |= {"ratio": spread([theirs / ours for theirs, ours in zip(masked, sparse, strict=True)])}
        if name == "gib":
            before = [run[name] for run in runs["untrained"]]
            line["before_training"] = spread(before)
            added = zip(masked, sparse, before, strict=True)
            line["ratio_of_what_training_adds"] = spread([(m - b) / (s - b) for m, s, b in added])
        print(json.dumps(line), flush=True)
    losses = {way: round(runs[way][0]["loss"], 4) for way in ("sparse", "masked")}
    print(json.dumps({"figure": "training_loss"} | place | losses), flush=True)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        name: round(of(values), 3) for name, of in (("median", median), ("least", min), ("greatest", max))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one density, a narrower network, one repeat")
    parser.add_argument("--dim", type=int, default=683, help="units of each of the three modalities")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.05, 0.01])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, dim, layers, density, steps = arguments.one
        print(json.dumps(measure(way, int(dim), int(layers), float(density), int(steps))))
    elif arguments.quick:
        compare(dim=342, layers=3, density=0.01, steps=5, repeats=1)
    else:
        for density in arguments.densities:
            compare(arguments.dim, arguments.layers, density, arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
