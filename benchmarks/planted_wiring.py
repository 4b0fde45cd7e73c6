"""Whether a layer finds the wiring that was planted in its data, and says so when there was none.

The inputs lie on a ring and resemble their neighbours. The target is a mixture: (1 − ρ) of a linear map
of each unit's own lattice, and ρ of a dense linear map. So a small world is right for large ρ, and how
small is known: the best error of every exact graph has a closed form. Errors are shares of the target's
variance. One JSON line per figure.

    python benchmarks/planted_wiring.py [--quick]
"""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.sparse import SparseLinear, identifiability
from nas.topologies import Edges
from nas.topologies._candidates import candidates as fan_in_candidates
from nas.training.wiring import Plan, Wiring, parameter_groups

UNITS, K = 64, 8
SEGMENTS = (24, 24, 24)
STARTS = (0.1, 0.5, 0.9)
MIXTURES = (0.0, 0.5, 0.75, 1.0)
GRID = np.linspace(0, 1, 41)
BATCH, LEARNING_RATE = 128, 5e-2

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Linear regression `y = A x` of correlated Gaussian inputs.

    Args:
        covariance: Of the inputs, `(N, N)`.
        matrix: A, `(M, N)`.
    """

    covariance: Matrix
    matrix: Matrix

    @cached_property
    def root(self) -> Matrix:
        return np.linalg.cholesky(self.covariance + 1e-9 * np.eye(len(self.covariance)))

    def sample(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        x = (
            torch.randn(count, len(self.root), generator=rng, dtype=torch.float64)
            @ torch.tensor(self.root).t()
        )
        return x.float(), (x @ torch.tensor(self.matrix).t()).float()

    def error(self, edges: Edges) -> float:
        """Mean squared error of the best weights on these edges, as a share of the variance."""
        cross = self.matrix @ self.covariance
        variance = np.einsum("oi,oi->o", cross, self.matrix)
        explained = 0.0
        for row in range(edges.out_features):
            sources = edges.source[edges.target == row]
            inner = self.covariance[np.ix_(sources, sources)]
            explained += cross[row, sources] @ np.linalg.lstsq(inner, cross[row, sources], rcond=None)[0]
        return float(1 - explained / variance.sum())


def ring_covariance(units: int, length: float = 3.0, noise: float = 0.05) -> Matrix:
    """Inputs on a ring that resemble their neighbours, with a little noise of their own."""
    distance = np.abs(np.subtract.outer(np.arange(units), np.arange(units)))
    distance = np.minimum(distance, units - distance)
    return np.exp(-(distance**2) / (2 * length**2)) + noise * np.eye(units)


def standardised(matrix: Matrix, covariance: Matrix) -> Matrix:
    """The map with outputs of variance 1, those that are 0 excepted."""
    variance = np.einsum("oi,ij,oj->o", matrix, covariance, matrix)
    return matrix / np.sqrt(np.where(variance > 0, variance, 1))[:, None]


def planted(rho: float, permuted: bool = False) -> Task:
    """The mixture; `permuted` hides the ring, so that no lattice is there to be found."""
    rng = np.random.default_rng(0)
    covariance = ring_covariance(UNITS)
    lattice = SparseLinear(UNITS, UNITS, {"fan_in_small_world": {"k": K, "beta": 0.0}}).edges.mask()
    local = standardised(lattice * rng.standard_normal((UNITS, UNITS)), covariance)
    everywhere = standardised(rng.standard_normal((UNITS, UNITS)), covariance)
    matrix = (1 - rho) * local + rho * everywhere
    if permuted:
        order = rng.permutation(UNITS)
        covariance, matrix = covariance[np.ix_(order, order)], matrix[:, order]
    return Task(covariance, matrix)


def planted_across(seed: int) -> Task:
    """Three modalities: A reads B, B is local, and C reads A and B; no modality resembles another."""
    rng = np.random.default_rng(seed)
    modality = np.repeat(np.arange(3), SEGMENTS)
    covariance = np.kron(np.eye(3), ring_covariance(SEGMENTS[0]))

    def weights(reader: int, read: int) -> Matrix:
        between = (modality[:, None] == reader) & (modality == read)
        return standardised(between * rng.standard_normal(between.shape), covariance)

    lattice = SparseLinear(
        sum(SEGMENTS), sum(SEGMENTS), {"fan_in_small_world": {"k": K, "beta": 0.0}}, segments=SEGMENTS
    )
    a_reads_b, b_is_local = weights(0, 1), weights(1, 1) * lattice.edges.mask()
    return Task(covariance, a_reads_b + standardised(b_is_local, covariance) + weights(2, 0) + weights(2, 1))


@dataclass(frozen=True)
class Effort:
    """Seeds of the layer, each from all starts, and the optimiser steps of a search."""

    seeds: int
    steps: int


@dataclass(frozen=True)
class Found:
    """What one search ended with."""

    layer: SparseLinear
    gap: float

    @property
    def beta(self) -> float:
        return self.layer.beta.item()


def search(task: Task, topology: str, start: float, seed: int, steps: int, fresh: bool = False) -> Found:
    """Search the wiring of a new layer from a start, and freeze it.

    With `fresh` every step draws new places for the edges, as one would to sample graphs at beta.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    units, segments = len(task.matrix), SEGMENTS if topology == "learnable_budgets" else None
    layer = SparseLinear(units, units, {topology: {"k": K, "beta": start}}, segments=segments, seed=seed)
    optimizer = torch.optim.AdamW(parameter_groups(layer, LEARNING_RATE, 0.0))
    held_out = task.sample(4096, rng)
    whole = Plan(steps, epochs=1, search_steps=steps)
    wiring = Wiring(layer, optimizer, whole, seed, lambda: loss(layer, *held_out).item())
    for step in range(steps):
        wiring.before_step(step)
        if fresh:
            layer.relaxation.uniform = torch.rand(len(layer.weight), generator=rng, dtype=torch.float64)
        optimizer.zero_grad()
        loss(layer, *task.sample(BATCH, rng)).backward()
        optimizer.step()
    wiring.finish()
    return Found(layer, wiring.metrics()["soft_to_hard_gap"])


def loss(layer: SparseLinear, x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error as a share of the variance."""
    return (layer(x) - y).pow(2).mean() / y.pow(2).mean()


def figures_of_mixture(rho: float, permuted: bool, effort: Effort) -> Iterator[dict[str, Any]]:
    """Learned beta for each seed of the layer and each start, beside the best of all exact graphs."""
    task = planted(rho, permuted)
    everything = []
    for seed in range(effort.seeds):
        graphs = fan_in_candidates(UNITS, UNITS, K, None, seed)
        errors = np.array([task.error(graphs.at(beta)) for beta in GRID])
        found = [search(task, "learnable_watts_strogatz", start, seed, effort.steps) for start in STARTS]
        betas = [one.beta for one in found]
        everything += betas
        yield {
            "seed": seed,
            "best_beta": GRID[errors.argmin()],
            "betas": betas,
            "spread_of_starts": np.ptp(betas),
            "excess_error": [task.error(one.layer.edges) - errors.min() for one in found],
            "soft_to_hard_gap": [one.gap for one in found],
        }
    verdict = identifiability(everything)
    yield {"starts_and_seeds": len(everything), "spread": verdict.spread, "verdict": str(verdict)}


def figures_of_fresh_samples(effort: Effort) -> Iterator[dict[str, Any]]:
    """Where beta ends with the same task and steps if every step samples its own graph."""
    for rho in (0.5, 0.75):
        task = planted(rho)
        for start in STARTS:
            ends = [
                search(task, "learnable_watts_strogatz", start, 0, effort.steps, fresh).beta
                for fresh in (True, False)
            ]
            yield {"rho": rho, "start": start, "fresh": ends[0], "fixed": ends[1]}


def figures_of_budgets(effort: Effort) -> Iterator[dict[str, Any]]:
    """Budget matrices, rows A, B, C; planted are A: [0, 1, 0], B: [0, 1, 0], C: [a, 1 − a, 0]."""
    task, everything = planted_across(0), []  # the data stay, the layers differ
    for seed in range(effort.seeds):
        for start in STARTS:
            found = search(task, "learnable_budgets", start, seed, effort.steps)
            everything.append(found.layer.budgets.numpy())
            yield {"seed": seed, "start": start, "budgets": everything[-1].tolist(), "gap": found.gap}
    verdicts = [identifiability([budgets[row] for budgets in everything]) for row in range(len(SEGMENTS))]
    yield {
        "starts_and_seeds": len(everything),
        "mean_budgets": np.mean(everything, axis=0).tolist(),
        "spread_by_row": [verdict.spread for verdict in verdicts],
        "verdict_by_row": [str(verdict) for verdict in verdicts],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds, half the steps")
    effort = Effort(2, 500) if parser.parse_args().quick else Effort(5, 1000)
    torch.set_num_threads(1)
    for rho in MIXTURES:
        report(f"rho {rho:g}", figures_of_mixture(rho, False, effort))
    report("rho 1, inputs permuted", figures_of_mixture(1.0, True, effort))
    report("cross-modal", figures_of_budgets(effort))
    report("fresh sample per step", figures_of_fresh_samples(effort))


def report(task: str, figures: Iterator[dict[str, Any]]) -> None:
    for figure in figures:
        print(json.dumps({"task": task} | {key: rounded(value) for key, value in figure.items()}), flush=True)


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
