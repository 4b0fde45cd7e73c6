"""A Gaussian process over the decisions of a search space."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.space import Choice, Domain, SearchSpace
from nas.space.domains import Plain, Value, plain_domains, to_plain

Matrix: TypeAlias = NDArray[np.float64]
Distances: TypeAlias = tuple[Matrix, Matrix]  # whole, and by columns; see `distances`
Decisions: TypeAlias = Mapping[str, Value]
OPTION = 0.5**0.5  # two options are at distance 1, as the two ends of a number are
LENGTHS = (0.7, 1.5, 3.0)
ADDITIVE = (0.2, 0.6, 0.95)
NOISES = (1e-3, 1e-2, 1e-1, 4e-1)
MAIN_EFFECT_LENGTH = 0.6
CONDITIONAL = 0.1  # of a squared distance that counts, for each decision that another one hangs on


class Encoder:
    """Decisions as vectors: a column per number, scaled to 0…1, and one per option of a choice.

    A decision that is not taken is in the middle of its column, and none of its options is chosen;
    whatever it hangs on tells the two apart. A decision that hangs on others counts for less than these:
    settings of components are many, few networks have them, and each moves less than the component does.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._domains: dict[str, Domain] = dict(space.domains())
        self._columns: dict[str, tuple[int, Plain]] = {}
        self._blank: list[float] = []
        scales: list[float] = []
        for whole, parts in self._domains.items():
            scale = CONDITIONAL ** (0.5 * sum(whole.startswith(f"{other}.") for other in self._domains))
            for path, domain in plain_domains(whole, parts).items():
                self._columns[path] = (len(self._blank), domain)
                self._blank += [0.0] * domain.size if isinstance(domain, Choice) else [0.5]
                scales += [scale] * (len(self._blank) - len(scales))
        self._scales = np.array(scales)

    @property
    def width(self) -> int:
        """Columns of a vector."""
        return len(self._blank)

    def __call__(self, points: Iterable[Decisions]) -> Matrix:
        """Vectors `(n, width)` of some points of the space."""
        vectors = [self._vector(decisions) for decisions in points]
        return self._scales * np.array(vectors).reshape(len(vectors), self.width)

    def _vector(self, decisions: Decisions) -> list[float]:
        vector = self._blank.copy()
        for path, decided in decisions.items():
            if path in self._columns:
                self._enter(vector, path, decided)
                continue
            for part, value in to_plain(path, self._domains[path], decided).items():
                self._enter(vector, part, value)
        return vector

    def _enter(self, vector: list[float], path: str, value: Value) -> None:
        column, domain = self._columns[path]
        if isinstance(domain, Choice):
            vector[column + domain.options.index(value)] = OPTION
        else:
            vector[column] = position(domain, value)


def position(domain: Any, value: Any) -> float:
    """Where a number lies in its domain: 0 at the low end, 1 at the high one."""
    low, high = float(domain.low), float(domain.high)
    if low == high:
        return 0.5
    if domain.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


@dataclass(frozen=True)
class Kernel:
    """Covariance: main effects of single columns, and their interactions, in a ratio.

    Duvenaud et al., Additive Gaussian Processes, NeurIPS 2011, cut to its first and last order.

    Args:
        length: Length scale of the interactions.
        additive: Share of the main effects.
        noise: Variance of the observations' noise, relative to that of the function.
    """

    length: float
    additive: float
    noise: float

    def __call__(self, distances: Distances) -> Matrix:
        """Covariances from `distances` of two sets of vectors."""
        whole, main = distances
        return self.additive * main + (1 - self.additive) * np.exp(-whole / (2 * self.length**2))


def distances(one: Matrix, other: Matrix) -> Distances:
    """Squared distances `(n, m)`, and the mean over the columns of their own covariance."""
    # In a column of two values, as options have, the covariance is linear in the squared distance.
    height = np.maximum(one.max(0, initial=0), other.max(0, initial=0))
    two = ((one == 0) | (one == height)).all(0) & ((other == 0) | (other == height)).all(0)
    unlike = 1 - np.exp(-(height**2) / (2 * MAIN_EFFECT_LENGTH**2))
    weight = np.sqrt(unlike[two]) / np.where(height[two] > 0, height[two], 1)
    main = two.sum() - _squared(one[:, two] * weight, other[:, two] * weight)
    whole = _squared(one[:, two], other[:, two])
    for a, b in zip(one[:, ~two].T, other[:, ~two].T, strict=True):
        gaps = (a[:, None] - b[None]) ** 2
        whole += gaps
        main += np.exp(-gaps / (2 * MAIN_EFFECT_LENGTH**2))
    return whole, main / max(one.shape[1], 1)


def _squared(one: Matrix, other: Matrix) -> Matrix:
    squared: Matrix = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.maximum(squared, 0)


class GaussianProcess:
    """A Gaussian process with a kernel chosen by its marginal likelihood.

    Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1.

    Args:
        within: `distances` between the n observed vectors.
        values: `(n,)`.
        kernel: The kernel; the most likely of a grid for None.
    """

    def __init__(self, within: Distances, values: Matrix, kernel: Kernel | None = None) -> None:
        self._center, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._targets = (values - self._center) / self._scale
        self.kernel = kernel or self._most_likely(within)
        self._inverse, self._half, _ = self._fit(self.kernel, within)
        self._variance = float(self._half @ self._half) / len(values)

    def predict(self, across: Distances) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation `(m,)` of the function, without the observations' noise.

        Args:
            across: `distances` from m vectors to the observed ones.
        """
        half = self._inverse @ self.kernel(across).T
        variance = self._variance * np.maximum(1 - (half**2).sum(0), 1e-9)
        return self._center + self._scale * half.T @ self._half, self._scale * np.sqrt(variance)

    def _most_likely(self, within: Distances) -> Kernel:
        kernels = [Kernel(*values) for values in itertools.product(LENGTHS, ADDITIVE, NOISES)]
        return max(kernels, key=lambda kernel: self._fit(kernel, within)[2])

    def _fit(self, kernel: Kernel, within: Distances) -> tuple[Matrix, Matrix, float]:
        """Inverse of the Cholesky factor, its product with the targets, and the likelihood.

        The likelihood is that with the best overall variance.
        """
        count = len(self._targets)
        factor: Any = np.linalg.cholesky(kernel(within) + (kernel.noise + 1e-8) * np.eye(count))
        inverse: Any = np.linalg.inv(factor)
        half = inverse @ self._targets
        likelihood = -0.5 * count * math.log(half @ half / count + 1e-12) - np.log(np.diag(factor)).sum()
        return inverse, half, float(likelihood)


def expected_improvement(samples: Matrix, front: Matrix, reference: Matrix) -> Matrix:
    """Mean growth of the hypervolume for each of several points known as samples.

    Args:
        samples: `(s, n, m)`: s draws of the losses of n points.
        front: `(f, m)` losses that do not dominate each other.
        reference: `(m,)`.

    Returns:
        `(n,)`. For one or two objectives exact; for more, the largest distance by which a draw is
        better than every member of the front in some objective (Svenson and Santner, Computational
        Statistics & Data Analysis 94, 2016).
    """
    if samples.shape[2] == 1:
        return np.maximum(front.min() - samples[..., 0], 0).mean(0)
    if samples.shape[2] == 2:
        return _two_objectives(samples, front, reference).mean(0)
    gap = (front[None, None] - samples[:, :, None]).max(3).min(2)
    return np.maximum(gap, 0).mean(0)


def _two_objectives(samples: Matrix, front: Matrix, reference: Matrix) -> Matrix:
    inside = front[(front < reference).all(1)]
    inside = inside[np.argsort(inside[:, 0])]
    edges = np.concatenate([[-np.inf], inside[:, 0], reference[:1]])
    heights = np.concatenate([reference[1:], inside[:, 1]])
    x, y = samples[..., 0, None], samples[..., 1, None]
    widths = np.maximum(edges[1:] - np.maximum(edges[:-1], x), 0)
    return (widths * np.maximum(heights - y, 0)).sum(2)
