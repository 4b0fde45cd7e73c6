"""`evolution`: non-dominated selection, typed variation, and a surrogate that picks among the children."""

from dataclasses import dataclass
from math import erfc
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.checks import check_positive, check_whole
from nas.registry import register
from nas.results.dominance import crowding, non_dominated, ranks
from nas.results.records import FINISHED, PRUNED, REJECTED, History, Origin, Record
from nas.search.curves import expected_end
from nas.search.growing import Grown
from nas.search.samplers._surrogate import (
    Decisions,
    Distances,
    Encoder,
    GaussianProcess,
    Kernel,
    distances,
    expected_improvement,
)
from nas.search.samplers._variation import cross, mutate
from nas.space import Architecture, Int, SearchSpace

Parent: TypeAlias = tuple[int, Decisions]  # number of the trial, and what leads to it
CROSSOVER, FRESH = 0.3, 0.1  # shares of the children
DRAWS = 32
ENOUGH_CURVES, ENOUGH_MEASURED = 6, 4
CONSTRAINT_KERNEL = Kernel(length=1.5, additive=0.6, noise=1e-2)
LARGEST_FIT = 128


@register("sampler", "evolution")
class Evolution:
    """Evolution on architecture trees, guided by a model.

    Parents are the best candidates by non-dominated rank and crowding distance (Deb et al. 2002). From
    them come `children` by mutation and crossover, beside a few fresh samples; a Gaussian process per
    objective predicts what each is worth, and the one is proposed from which the hypervolume of the
    front is expected to grow the most. Trials that run, and trials that were stopped, count with the values
    predicted for them. A child is worth less where a constraint is likely to reject it.

    Args:
        startup: Proposals spread over the space before the first parents.
        population: Candidates that may become parents.
        children: Children among which the surrogate picks; with 1 there is no surrogate.
        scouts: Networks that are built, measured and not trained, from which the surrogate learns those
            objectives that are exact before a training.
    """

    domains = {
        "startup": Int(5, 30),
        "population": Int(5, 40),
        "children": Int(1, 200, log=True),
        "scouts": Int(0, 128),
    }

    def __init__(self, startup: int = 8, population: int = 16, children: int = 60, scouts: int = 64) -> None:
        check_positive("startup", startup)
        check_positive("population", population)
        check_positive("children", children)
        check_whole("scouts", scouts, 0)
        self.startup = startup
        self.population = population
        self.children = children
        self.scouts = scouts
        self._known: _View | None = None
        self._kernels: dict[bytes, list[Kernel]] = {}
        self._ends: dict[tuple[int, int | None], NDArray[np.float64] | None] = {}

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        """The child that promises most."""
        return self.breed(space, history, seed)[0]

    def breed(self, space: SearchSpace, history: History, seed: int) -> tuple[Architecture, Origin]:
        """What `propose` gives, with what it was made from."""
        rng = np.random.default_rng(seed)
        view = self._view(space)
        asked = view.asked([record.architecture for record in history.records])
        numbers = [candidate.records[0].number for candidate in history.candidates]
        inside = [place for place, number in enumerate(numbers) if asked[number]]
        if len(inside) < self.startup:
            return self._start(view, history, rng), Origin()
        losses = np.array(history.points)[inside]
        known = [point for place in inside if (point := asked[numbers[place]])]
        parents = [(numbers[inside[i]], known[i].decisions) for i in self._parents(losses)]
        children = self._children(space, {point.key for point in asked if point}, parents, rng)
        if not children:
            return space.sample(rng), Origin()
        chosen, origin = children[0]
        if len(children) > 1:
            stopped = self._stopped(view, history)
            points = known + [point for point, _ in stopped]
            measured = _Measured(points, np.concatenate([losses, *(end[None] for _, end in stopped)]))
            running = (record.architecture for record in history.records if record.state not in FINISHED)
            pending = view.vectors([point for a in running if (point := view.point(a))])
            offspring = view.encode([child for child, _ in children])
            worth = self._worth(view, measured, view.scouted(history), pending, offspring, rng)
            worth = (worth + 1e-12) * self._feasibility(view, history, offspring)
            chosen, origin = children[int(worth.argmax())]
        return space.draw(lambda path, domain: chosen[path]), origin

    def _view(self, space: SearchSpace) -> "_View":
        if self._known is None or self._known.space is not space:
            self._known = _View(space)
        return self._known

    def _start(self, view: "_View", history: History, rng: np.random.Generator) -> Architecture:
        """Of random points the one farthest from all trials, among those likely to keep the constraints."""
        samples = [view.space.sample(rng) for _ in range(DRAWS)]
        vectors = view.vectors([point for sample in samples if (point := view.point(sample))])
        likely = np.ones(len(samples))
        if history.scouted or any(record.state == REJECTED for record in history.records):
            likely = self._feasibility(view, history, vectors)
        nearest = np.ones(len(samples))
        if known := [point for record in history.records if (point := view.point(record.architecture))]:
            nearest = distances(vectors, view.vectors(known))[0].min(1)
        # Far from the trials first, but no such point can make up for one that is sure to be rejected.
        return samples[int(np.lexsort((nearest, np.minimum(likely, 0.5)))[-1])]

    def _feasibility(
        self, view: "_View", history: History, points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Probability `(n,)` of each point to keep every constraint, by a Gaussian process for each.

        Gardner et al., Bayesian optimization with inequality constraints, ICML 2014, equation 6.
        """
        probability = np.ones(len(points))
        for name in history.constraints:
            found = [(record.architecture, record.cheap) for record in history.records]
            found = [*history.scouted.items(), *found]
            known = [(point, c) for a, c in found if name in c and (point := view.point(a))]
            if len(known) < ENOUGH_MEASURED:
                continue
            known = known[-LARGEST_FIT:]
            excess = np.array([history.excesses(cheap)[name] for _, cheap in known])
            scaled = np.sign(excess) * np.log1p(np.abs(excess) / (np.median(np.abs(excess)) or 1.0))
            vectors = view.vectors([point for point, _ in known])
            process = GaussianProcess(distances(vectors, vectors), scaled, CONSTRAINT_KERNEL)
            mean, deviation = process.predict(distances(points, vectors))
            probability *= [erfc(z / 2**0.5) / 2 for z in mean / deviation]
        return probability

    def _stopped(self, view: "_View", history: History) -> list[tuple["_Point", NDArray[np.float64]]]:
        """Pruned trials with the losses that they would have ended with, judged when they were stopped."""
        pruned = [record for record in history.records if record.state == PRUNED]
        ends = [(view.point(record.architecture), self._end(record, history)) for record in pruned]
        return [(point, end) for point, end in ends if point is not None and end is not None]

    def _end(self, pruned: Record, history: History) -> NDArray[np.float64] | None:
        key = (pruned.seed, pruned.told)
        if key not in self._ends:
            told = pruned.told or 0
            before = [r for r in history.records if r.told is not None and r.told < told]
            end = expected_end(History(before, history.objectives), pruned, ENOUGH_CURVES)
            self._ends[key] = end.losses if end and np.isfinite(end.losses).all() else None
        return self._ends[key]

    def _parents(self, losses: NDArray[np.float64]) -> NDArray[np.int64]:
        """Positions of the best, by non-dominated rank and then by crowding distance."""
        rank = ranks(losses, self.population)
        distance = np.zeros(len(losses))
        for level in range(int(np.sort(rank)[: self.population][-1]) + 1):  # no further ones are chosen
            distance[rank == level] = crowding(losses[rank == level])
        return np.lexsort((-distance, rank))[: self.population]

    def _children(
        self, space: SearchSpace, taken: set[str], parents: list[Parent], rng: np.random.Generator
    ) -> list[tuple[Decisions, Origin]]:
        """Different children that no trial has been yet; fewer where the space is nearly used up."""
        children = []
        for _ in range(2 * self.children):
            child, origin = self._child(space, parents, rng)
            if (key := _key(child)) not in taken:
                taken.add(key)
                children.append((child, origin))
            if len(children) == self.children:
                break
        return children

    def _child(
        self, space: SearchSpace, parents: list[Parent], rng: np.random.Generator
    ) -> tuple[Decisions, Origin]:
        draw = rng.random()
        if draw < FRESH:
            return space.decide(lambda path, domain: domain.sample(rng)), Origin()
        # The better a parent, the likelier.
        one, other = (parents[int(rng.integers(len(parents)) * rng.random())] for _ in range(2))
        if draw > FRESH + CROSSOVER or one is other:
            return mutate(space, one[1], rng), Origin("mutation", (one[0],))
        child = cross(space, one[1], other[1], rng)
        return mutate(space, child, rng), Origin("crossover", (one[0], other[0]))

    def _worth(
        self,
        view: "_View",
        measured: "_Measured",
        scouted: "_Measured",
        pending: NDArray[np.float64],
        offspring: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Expected growth of the hypervolume by each child, if what is pending ends as predicted."""
        kernels = self._kernels_for(view, measured, scouted)
        losses = _rescaled(measured.losses, measured.losses)
        known = scouted.filling(measured.at(_representative(losses)))
        vectors = view.vectors(known.points)
        first = len(vectors) - min(len(losses), LARGEST_FIT)  # of those that are more than scouted
        across = distances(np.concatenate([vectors, pending, offspring]), vectors)
        believed, samples = [], []
        for values, kernel in zip(_rescaled(known.losses, measured.losses).T, kernels, strict=True):
            process, to_known = _fitted(across, values, kernel)
            mean, deviation = process.predict(to_known)
            believed.append(mean[first : -len(offspring)])
            samples.append((mean + deviation * rng.normal(size=(DRAWS, 1)))[:, -len(offspring) :])
        front = np.stack(believed, 1)
        front = front[non_dominated(front)]
        reference = losses.max(0) + 0.1 * (losses.max(0) - losses.min(0)) + 1e-9
        return expected_improvement(np.stack(samples, 2), front, reference)

    def _kernels_for(self, view: "_View", measured: "_Measured", scouted: "_Measured") -> list[Kernel]:
        """The most likely kernel per objective for what was known first.

        Chosen anew whenever a tenth more is known, and from the data alone, so that a resumed search
        has the same.
        """
        steps = int(np.log(min(len(measured.points), LARGEST_FIT)) / np.log(1.1))
        first = measured.at(np.arange(int(1.1**steps)))
        known = scouted.filling(first)
        vectors = view.vectors(known.points)
        key = vectors.tobytes() + known.losses.tobytes()
        if key not in self._kernels:
            within = distances(vectors, vectors)
            columns = _rescaled(known.losses, first.losses).T
            self._kernels = {key: [_fitted(within, values)[0].kernel for values in columns]}
        return self._kernels[key]


@dataclass(frozen=True)
class _Point:
    """An architecture of the space: the decisions that lead to it, as a text to compare, as a vector."""

    decisions: Decisions
    key: str
    vector: NDArray[np.float64]


@dataclass(frozen=True)
class _Measured:
    """Points with their losses `(n, m)`, NaN where they are not known."""

    points: list[_Point]
    losses: NDArray[np.float64]

    def at(self, places: NDArray[np.int64]) -> "_Measured":
        """Some of them."""
        return _Measured([self.points[place] for place in places], self.losses[places])

    def filling(self, others: "_Measured") -> "_Measured":
        """As many of these as can be fitted beside others, and then the others."""
        room = max(LARGEST_FIT - len(others.points), 0)
        return _Measured(
            self.points[:room] + others.points, np.concatenate([self.losses[:room], others.losses])
        )


class _View:
    """A space with the points that have been seen of it."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.encode = Encoder(space)
        self.asked = Grown(self.point)
        self._points: dict[Architecture, _Point | None] = {}

    def point(self, architecture: Architecture) -> _Point | None:
        """An architecture as a point; None for one outside the space, which has changed since."""
        try:
            return self._points[architecture]
        except KeyError:
            return self._points.setdefault(architecture, self._locate(architecture))

    def _locate(self, architecture: Architecture) -> _Point | None:
        try:
            found = self.space.decisions(architecture)
        except ValueError:
            return None
        decisions = {path: value for path, (_, value) in found.items()}
        return _Point(decisions, _key(decisions), self.encode([decisions])[0])

    def vectors(self, points: list[_Point]) -> NDArray[np.float64]:
        """Vectors `(n, width)` of some points."""
        return np.array([point.vector for point in points]).reshape(len(points), self.encode.width)

    def scouted(self, history: History) -> _Measured:
        """The networks of the space that were measured and not trained."""
        found = [(point, exact) for a, exact in history.scouted.items() if (point := self.point(a))]
        losses = np.array([history.losses(exact) for _, exact in found])
        losses = np.where(np.isinf(losses), np.nan, losses).reshape(-1, len(history.objectives))
        return _Measured([point for point, _ in found], losses)


def _key(decisions: Decisions) -> str:
    return repr(list(decisions.items()))


def _fitted(
    across: Distances, values: NDArray[np.float64], kernel: Kernel | None = None
) -> tuple[GaussianProcess, Distances]:
    """A process fitted to those values that are known, and the distances to their points.

    `across` are the distances of points to the first of them, which have the values.
    """
    known = np.flatnonzero(~np.isnan(values))
    to_known = across[0][:, known], across[1][:, known]
    within = to_known[0][known], to_known[1][known]
    return GaussianProcess(within, values[known], kernel), to_known


def _rescaled(losses: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses in units that make those of the trials comparable.

    Large positive ranges by logarithm, hopeless values cut off. What is NaN stays so.
    """
    columns = []
    for column, trials in zip(losses.T, known.T, strict=True):
        finite = trials[np.isfinite(trials)]
        worst = finite.max() if len(finite) else 0.0
        column, trials = (np.where(np.isinf(values), worst, values) for values in (column, trials))
        if trials.max() > 10 * trials.min() > 0 and not (column <= 0).any():
            column, trials = np.log(column), np.log(trials)
        limit = np.median(trials) + 3 * (np.median(trials) - trials.min())
        if limit > trials.min():
            column, trials = np.minimum(column, limit), np.minimum(trials, limit)
        columns.append((column - trials.mean()) / (trials.std() or 1.0))
    return np.stack(columns, 1)


def _representative(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which candidates a surrogate is fitted to: all, or the best half and others spread over the study."""
    if len(losses) <= LARGEST_FIT:
        return np.arange(len(losses))
    best = np.argsort(ranks(losses, LARGEST_FIT // 2), kind="stable")[: LARGEST_FIT // 2]
    rest = np.setdiff1d(np.arange(len(losses)), best)
    spread = rest[np.linspace(0, len(rest) - 1, LARGEST_FIT - len(best)).astype(int)]
    return np.sort(np.concatenate([best, spread]))
