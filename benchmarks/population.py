"""Candidates per hour: one at a time, several processes, populations.

One JSON line per way: candidates per hour, the spread over the repeats, and the ratio to one at a time
in the same run. The candidates are those of a space whose networks differ in fusible values alone, and
every way trains the same ones with the same seeds; `difference` is the largest difference of a final
validation loss to that of separate training.

    python benchmarks/population.py                          the CPU, a small space without convolutions
    python benchmarks/population.py --space dense_baseline   that experiment's network
    python benchmarks/population.py --device cuda --sizes 8 32 128 --processes 4
    python benchmarks/population.py --rule                   CPU seconds of a step, for `pays`
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from nas.datasets import Dataset, load_dataset
from nas.evaluation import untrained
from nas.experiment import Training
from nas.space import Architecture
from nas.training import Epoch, train
from nas.training.population import Member, train_together

SPACES: dict[str, dict[str, Any]] = {
    "small": {
        "data": {"modalities": ["text"]},
        "tree": {
            "dim": 32,
            "encoders": {"text": {"attention": {"embedding": 16}}},
            "connector": {"small_world": {"layers": 2, "topology": {"watts_strogatz": {"k": 4}}}},
            "fusion": {"late": {}},
            "head": {"linear": {}},
        },
        "training": {"batch_size": 64, "label_smoothing": 0.1},
    },
    "dense_baseline": {
        "data": {},
        "tree": {
            "dim": 256,
            "encoders": {
                "image": {"cnn": {"width": 32}},
                "audio": {"spectrogram_cnn": {"width": 32}},
                "text": {"attention": {"embedding": 128}},
            },
            "connector": {"none": {}},
            "fusion": {"cross_modal": {"heads": 4}},
            "head": {"linear": {}},
        },
        "training": {"batch_size": 64, "label_smoothing": 0.1},
    },
}
WARM_UP = 10**6  # first seed of the candidates that are trained before anything is timed


class Bench:
    """The candidates of a space on a device.

    Args:
        space: Name of one of `SPACES`.
        device: Where they are trained.
        epochs: Epochs of each.
    """

    def __init__(self, space: str, device: str, epochs: int) -> None:
        chosen = SPACES[space]
        self.tree = chosen["tree"]
        self.dataset: Dataset = load_dataset("avt_digits", **chosen["data"])
        self.settings = Training(epochs=epochs, **chosen["training"])
        self.device = torch.device(device)
        self.splits = [self.dataset.splits[name] for name in ("train", "validation")]
        if device != "cpu":
            self.splits = [split.to(device) for split in self.splits]  # type: ignore[attr-defined]

    def member(self, seed: int, losses: dict[int, float]) -> Member:
        """The candidate of a seed, which leaves its last validation loss."""

        def note(epoch: Epoch) -> None:
            losses[seed] = F.cross_entropy(epoch.outputs.float(), epoch.labels).item()

        values = {"learning_rate": 1e-3 * 10 ** (seed % 7 / 7), "weight_decay": 10.0 ** -(seed % 5 + 1)}
        network = untrained(Architecture(self.tree), self.dataset.modalities, self.dataset.task, seed).to(
            self.device
        )
        return Member(network, self.settings.model_copy(update=values), seed, note)

    def alone(self, seeds: range) -> dict[int, float]:
        """Train one after another."""
        losses: dict[int, float] = {}
        for seed in seeds:
            one = self.member(seed, losses)
            train(one.network, *self.splits, one.settings, one.seed, one.on_epoch)
        return losses

    def together(self, seeds: range, size: int) -> dict[int, float]:
        """Train as populations of a size."""
        losses: dict[int, float] = {}
        for places in _batched(seeds, size):
            members = [self.member(seed, losses) for seed in places]
            list(train_together(members, *self.splits))
        return losses


def _batched(seeds: range, size: int) -> Iterator[range]:
    return (seeds[start : start + size] for start in range(0, len(seeds), size))


def serve(line: Any, *options: Any) -> None:
    """A process that trains the candidates it is sent, one after another."""
    torch.set_num_threads(1)
    bench = Bench(*options)
    bench.alone(range(WARM_UP, WARM_UP + 1))
    line.send({})
    while (seeds := line.recv()) is not None:
        line.send(bench.alone(seeds))


class Processes:
    """Several processes that share the candidates among them."""

    def __init__(self, count: int, *options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.lines = []
        self.running = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, *options), daemon=True)
            process.start()
            self.lines.append(ours)
            self.running.append(process)
        for line in self.lines:
            line.recv()

    def __call__(self, seeds: range) -> dict[int, float]:
        """Train the candidates."""
        for place, line in enumerate(self.lines):
            line.send(seeds[place :: len(self.lines)])
        return {seed: loss for line in self.lines for seed, loss in line.recv().items()}

    def close(self) -> None:
        """End them."""
        for line, process in zip(self.lines, self.running, strict=True):
            line.send(None)
            process.join()


def compare(arguments: argparse.Namespace) -> None:
    """Time every way in turn, as often as asked for."""
    options = (arguments.space, arguments.device, arguments.epochs)
    bench = Bench(*options)
    ways: dict[str, Callable[[range], Mapping[int, float]]] = {"one at a time": bench.alone}
    processes = Processes(arguments.processes, *options) if arguments.processes > 1 else None
    if processes:
        ways[f"{arguments.processes} processes"] = processes
    for size in arguments.sizes:
        ways[f"population of {size}"] = lambda seeds, size=size: bench.together(seeds, size)
    counts = {name: max(arguments.candidates, *_sizes(name)) for name in ways}
    for name, way in ways.items():
        way(range(WARM_UP, WARM_UP + max(2, *_sizes(name))))
    expected = bench.alone(range(max(counts.values()))) if arguments.check else {}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    differences = dict.fromkeys(ways, 0.0)
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            losses = way(range(counts[name]))
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            rates[name].append(3600 * len(losses) / (time.perf_counter() - started))
            pairs = ((loss, expected[seed]) for seed, loss in losses.items() if seed in expected)
            differences[name] = max([differences[name], *(abs(one - other) for one, other in pairs)])
    if processes:
        processes.close()
    for name, found in rates.items():
        line = {
            "figure": "candidates per hour",
            "space": arguments.space,
            "way": name,
            "per_hour": round(median(found)),
            "lowest": round(min(found)),
            "highest": round(max(found)),
            "ratio": round(median(found) / median(rates["one at a time"]), 2),
            "difference": differences[name] if expected else None,
            "epochs": arguments.epochs,
            "repeats": arguments.repeats,
            "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
            "memory_mib": torch.cuda.max_memory_allocated() >> 20 if arguments.device == "cuda" else None,
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(line), flush=True)


def _sizes(name: str) -> list[int]:
    return [int(word) for word in name.split() if word.isdigit() and "population" in name] + [0]


def rule(repeats: int) -> None:
    """CPU seconds of an epoch per member, alone and together, over widths and batch sizes."""
    for dim, batch, layers in ((16, 32, 1), (32, 64, 1), (64, 128, 3), (256, 256, 1)):
        bench = Bench("small", "cpu", 1)
        bench.tree = SPACES["small"]["tree"] | {
            "dim": dim,
            "connector": {"small_world": {"layers": layers, "topology": {"watts_strogatz": {"k": 4}}}},
        }
        bench.settings = bench.settings.model_copy(update={"batch_size": batch})
        parameters = sum(p.numel() for p in bench.member(0, {}).network.parameters())
        ways = {"alone": bench.alone, "together": lambda seeds, b=bench: b.together(seeds, 8)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            for name, way in ways.items():
                started = time.process_time()
                way(range(8))
                seconds[name].append((time.process_time() - started) / 8)
        medians = {name: median(times[1:]) for name, times in seconds.items()}
        line = {
            "figure": "CPU seconds per candidate and epoch",
            "dim": dim,
            "batch_size": batch,
            "layers": layers,
            "parameters": parameters,
            "work_log2": round(math.log2(parameters * batch), 1),
            **{name: round(value, 4) for name, value in medians.items()},
            "ratio": round(medians["alone"] / medians["together"], 2),
        }
        print(json.dumps(line), flush=True)


def main() -> None:
    """Run the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 32])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-check", dest="check", action="store_false")
    parser.add_argument("--rule", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.rule:
        rule(arguments.repeats)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
