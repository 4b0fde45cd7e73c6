"""Speed and memory of the sparse layer beside the masked dense layer and `nn.Linear`.

One JSON line per figure. Ratios are time of theirs / time of ours, forward + backward with gradients
of the input, the weights and the bias, one thread unless OMP_NUM_THREADS says otherwise; the
three layers take turns, so that another load on the machine meets all of them.

    python benchmarks/sparse_layer.py [--quick] [--crossover]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.sparse import SparseLinear, backends

WIDE = """
import sys, time, torch
from nas.sparse import SparseLinear
units, batch = 65536, 128
if sys.argv[1] == "sparse":
    layer = SparseLinear(units, units, {"watts_strogatz": {"k": 16, "beta": 0.2}})
    optimizer = torch.optim.Adam(layer.parameters())
    x = torch.randn(batch, units, requires_grad=True)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        optimizer.zero_grad()
        layer(x).pow(2).mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    print(sorted(times)[2], min(times), max(times), end=" ")
else:
    print(0, 0, 0, end=" ")
# Not ru_maxrss, which a process inherits from the one that started it.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 2**20)
"""


class MaskedLinear(nn.Module):
    """What a sparse layer is without sparse compute."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.dense = nn.Linear(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.dense.weight * self.mask, self.dense.bias)


def race(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round; one unmeasured round first."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def steps_of(layer: SparseLinear, batch: int) -> dict[str, Callable[[], object]]:
    """One forward + backward of our layer, of the masked dense one and of `nn.Linear`."""
    units = layer.in_features
    x = torch.randn(batch, units, requires_grad=True)
    gradient = torch.randn(batch, units)

    def step(module: nn.Module) -> Callable[[], object]:
        inputs = [x, *module.parameters()]
        return lambda: torch.autograd.grad(module(x), inputs, gradient)

    masked = MaskedLinear(torch.from_numpy(layer.edges.mask()).float())
    return {"ours": step(layer), "masked": step(masked), "linear": step(nn.Linear(units, units))}


def ratio(seconds: dict[str, list[float]], of: str, to: str) -> dict[str, float]:
    """Median time ratio and the spread of the rounds' own ratios (their quartiles)."""
    each = sorted(a / b for a, b in zip(seconds[of], seconds[to], strict=True))
    return {
        "ratio": round(median(seconds[of]) / median(seconds[to]), 3),
        "low": round(each[len(each) // 4], 3),
        "high": round(each[-1 - len(each) // 4], 3),
    }


def speed(units: int, density: float, batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(units, units, {"erdos_renyi": {"density": density}})
    seconds = race(steps_of(layer, batch), rounds)
    line = {
        "figure": "layer_speed",
        "n": units,
        "density": density,
        "batch": batch,
        "backend": backends.choose(layer.shape(batch)),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "ours_ms": round(median(seconds["ours"]) * 1e3, 3),
        "masked_dense_over_ours": ratio(seconds, "masked", "ours"),
        "linear_over_ours": ratio(seconds, "linear", "ours"),
    }
    print(json.dumps(line), flush=True)


def crossover(units: int, density: float, batch: int, rounds: int) -> None:
    """Time of the dense way over that of CSR: what `nas.sparse.backends.CPU_RULE` is read off."""
    torch.manual_seed(0)
    layer = SparseLinear(units, units, {"erdos_renyi": {"density": density}})
    step = steps_of(layer, batch)["ours"]

    def forced(backend: str) -> Callable[[], object]:
        def run() -> None:
            layer.backend = backend
            step()

        return run

    seconds = race({backend: forced(backend) for backend in backends.BACKENDS}, rounds)
    size = {"figure": "crossover", "n": units, "density": density, "batch": batch, "rounds": rounds}
    print(json.dumps(size | {"dense_over_csr": ratio(seconds, "dense", "csr")}), flush=True)


def wide(rounds: int) -> None:
    """Peak memory of training steps at n = 65,536, beside a process that only imports."""
    peaks: dict[str, list[list[float]]] = {"sparse": [], "import": []}
    for _ in range(rounds):
        for what, found in peaks.items():
            done = subprocess.run(
                [sys.executable, "-c", WIDE, what], capture_output=True, text=True, check=True
            )
            found.append([float(number) for number in done.stdout.split()])
    memory = sorted(run[3] for run in peaks["sparse"])
    line = {
        "figure": "wide_layer",
        "n": 65536,
        "k": 16,
        "batch": 128,
        "rounds": rounds,
        "peak_gib": round(median(memory), 3),
        "peak_gib_range": [round(memory[0], 3), round(memory[-1], 3)],
        "peak_gib_imports_alone": round(median(run[3] for run in peaks["import"]), 3),
        "dense_matrix_gib": 65536**2 * 4 / 2**30,
        "step_s": round(median(run[0] for run in peaks["sparse"]), 3),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small sizes, in half a minute")
    parser.add_argument("--crossover", action="store_true", help="dense against CSR instead")
    args = parser.parse_args()
    sizes = (256, 1024, 4096) if args.quick else (256, 512, 1024, 2048, 4096, 8192)
    if args.crossover:
        sizes = (256, 512, 1024) if args.quick else (128, 256, 384, 512, 768, 1024, 2048)
    densities = (0.2, 0.15, 0.1, 0.05, 0.02, 0.01) if args.crossover else (0.1, 0.05, 0.01)
    batches = (1, 8, 32, 128, 512) if args.crossover else (16, 128)
    for units in sizes:
        rounds = 51 if units <= 512 else 15 if units <= 2048 else 5
        for density in densities:
            for batch in batches:
                (crossover if args.crossover else speed)(units, density, batch, rounds)
    if not args.crossover:
        wide(1 if args.quick else 5)


if __name__ == "__main__":
    main()
