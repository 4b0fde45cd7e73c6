"""Which of the two ways to compute a sparse layer is used: a rule, or what this machine measures.

A layer asks `choose`. By default that is a fixed rule, because a choice made by a stopwatch can
differ between two runs, and with it the last bit of every result. The rule is read off
`benchmarks/sparse_layer.py`. Who prefers speed to bitwise repetition calls `calibrate` for a layer:
both ways are timed once, and every layer of its shape class follows the faster one in this process.
"""

import copy
import math
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from nas.sparse.linear import SparseLinear

Backend = Literal["dense", "csr"]
BACKENDS: tuple[Backend, ...] = ("dense", "csr")

# Largest density at which CSR is the faster one on a CPU, by units per side and by batch size:
# (units from, ((batch from, density), ...)), densities ascending. Forward + backward, one thread,
# float32; read off `benchmarks/sparse_layer.py --crossover`.
CPU_RULE: tuple[tuple[int, tuple[tuple[int, float], ...]], ...] = (
    (768, ((0, 0.08), (8, 0.16))),
    (512, ((8, 0.03), (32, 0.11), (128, 0.13))),
    (384, ((32, 0.015), (128, 0.06))),
    (256, ((128, 0.025), (512, 0.06))),
    (0, ()),
)
CSR_TYPES = (torch.float32, torch.float64)  # the kernels know no others
# Not measured: on a GPU dense products win far beyond these sizes, so CSR only has to save memory.
GPU_POSITIONS = 2**26
GPU_DENSITY = 0.02
# Beyond this no dense matrix is made for a trial: 1 GiB in float32.
DENSE_LIMIT = 2**28


class Shape(NamedTuple):
    """What a choice depends on: the layer, the size of its batch, and where and in what it is computed.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        edges: Number of edges.
        batch: Number of rows of the input.
        device: Type of the device, such as `cpu`.
        dtype: Type of the weights.
    """

    out_features: int
    in_features: int
    edges: int
    batch: int
    device: str
    dtype: torch.dtype

    @property
    def shape_class(self) -> tuple[int, int, int, int, str, torch.dtype]:
        """The class that shares one measurement: sizes and batch to the next power of two, edges per unit."""
        sizes = (self.out_features, self.in_features, self.edges, self.batch)
        out_features, in_features, edges, batch = (size.bit_length() for size in sizes)
        return (out_features, in_features, edges, batch, self.device, self.dtype)


_measured: dict[tuple[int, int, int, int, str, torch.dtype], Backend] = {}


def choose(shape: Shape) -> Backend:
    """The way to compute a layer: what `calibrate` found for its class, else what the rule says."""
    measured = _measured.get(shape.shape_class) if _measured else None
    return measured or rule(shape)


def rule(shape: Shape) -> Backend:
    """The way to compute a layer by the fixed rule, which depends on the arguments alone."""
    if shape.dtype not in CSR_TYPES:
        return "dense"
    least = least_batch(shape.out_features, shape.in_features, shape.edges, shape.device)
    return "csr" if shape.batch >= least else "dense"


def least_batch(out_features: int, in_features: int, edges: int, device: str) -> float:
    """The smallest batch for which the rule says CSR; infinite where it never does."""
    positions = out_features * in_features
    density = edges / positions
    if device != "cpu":
        return 0 if positions > GPU_POSITIONS and density < GPU_DENSITY else math.inf
    by_batch = next(rows for units, rows in CPU_RULE if positions >= units**2)
    return min((batch for batch, densest in by_batch if density <= densest), default=math.inf)


def calibrated() -> bool:
    """Whether any measurement overrides the rule."""
    return bool(_measured)


def calibrate(layer: "SparseLinear", batch: int, rounds: int = 5) -> dict[Backend, float]:
    """Time both ways for a layer, forward and backward; layers of its shape class follow the faster.

    Results then repeat to rounding only, not to the bit, from one process to the next.

    Args:
        layer: The layer, where and in what type it is going to work.
        batch: Rows of its input, at least 1.
        rounds: Times each way is run.

    Returns:
        Median seconds of each way; a dense matrix beyond `DENSE_LIMIT` positions is not tried.
    """
    ways = _ways(layer, batch)
    for way in ways.values():
        way()
    seconds: dict[Backend, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(_seconds(way, layer.weight.device.type))
    medians = {name: median(times) for name, times in seconds.items()}
    _measured[layer.shape(batch).shape_class] = min(medians, key=lambda name: medians[name])
    return medians


def forget() -> None:
    """Drop all measurements: the rule decides again."""
    _measured.clear()


def _ways(layer: "SparseLinear", batch: int) -> dict[Backend, Callable[[], object]]:
    twin = copy.deepcopy(layer)  # its own gradients and choice
    x = twin.weight.new_zeros(batch, twin.in_features).requires_grad_()
    gradient = x.new_zeros(batch, twin.out_features)

    def way(backend: Backend) -> Callable[[], object]:
        def step() -> object:
            twin.backend = backend
            return torch.autograd.grad(twin(x), list(twin.parameters()), gradient)

        return step

    small = twin.in_features * twin.out_features <= DENSE_LIMIT
    return {backend: way(backend) for backend in BACKENDS if backend == "csr" or small}


def _seconds(way: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
