"""The surrogate of evolution: vectors of decisions, and the covariances of a Gaussian process."""

import numpy as np
import pytest

from nas.search.samplers._surrogate import MAIN_EFFECT_LENGTH, Encoder, GaussianProcess, Kernel, distances
from nas.space import Float, Int, SearchSpace
from nas.space.search_space import Group, Select

TOPOLOGY = Select("topology", {"ring": Group({"k": Int(2, 8, step=2)}), "complete": Group({})})
WIRED = Group({"layers": Int(1, 3), "topology": TOPOLOGY})
SPACE = SearchSpace(
    Group(
        {
            "dim": Int(16, 64),
            "connector": Select("connector", {"none": Group({}), "small_world": WIRED}),
            "rate": Float(1e-4, 1e-1, log=True),
        }
    )
)


def vectors(count, seed=0):
    rng = np.random.default_rng(seed)
    encode = Encoder(SPACE)
    return encode([SPACE.decide(lambda path, domain: domain.sample(rng)) for _ in range(count)])


def apart(**changes):
    """Squared distance of two points that differ in one decision, from one end of its domain to the other."""
    low = {"dim": 16, "rate": 1e-4, "connector": "small_world", "connector.small_world.layers": 1}
    low |= {"connector.small_world.topology": "ring", "connector.small_world.topology.ring.k": 2}
    one, other = Encoder(SPACE)([low, low | changes])
    return float(((one - other) ** 2).sum())


def test_a_decision_counts_a_tenth_for_each_that_it_hangs_on():
    assert apart(dim=64) == apart(rate=1e-1) == pytest.approx(1)
    assert apart(**{"connector.small_world.layers": 3}) == pytest.approx(0.1)
    assert apart(**{"connector.small_world.topology.ring.k": 8}) == pytest.approx(0.01)


def test_distances_are_those_of_a_loop_over_the_columns():
    one, other = vectors(12), vectors(7, seed=1)
    whole, main = distances(one, other)
    gaps = (one[:, None] - other[None]) ** 2
    np.testing.assert_allclose(whole, gaps.sum(2), atol=1e-12)
    np.testing.assert_allclose(main, np.exp(-gaps / (2 * MAIN_EFFECT_LENGTH**2)).mean(2), atol=1e-12)


def test_distances_to_nothing_are_empty():
    whole, main = distances(np.empty((0, 4)), np.ones((3, 4)))
    assert whole.shape == main.shape == (0, 3)


def test_points_of_a_space_without_decisions_are_alike():
    encode = Encoder(SearchSpace(Group({})))
    within = distances(encode([{}] * 5), encode([{}] * 5))
    process = GaussianProcess(within, np.arange(5.0), Kernel(length=1.5, additive=0.6, noise=1e-2))
    assert process.predict(within)[0] == pytest.approx(2, abs=1e-6)


def test_a_gaussian_process_predicts_what_the_textbook_formula_gives():
    points, new = vectors(15), vectors(4, seed=2)
    values = points.sum(1)
    kernel = Kernel(length=1.5, additive=0.6, noise=1e-2)
    within, across = distances(points, points), distances(new, points)
    scaled = (values - values.mean()) / values.std()
    solved = np.linalg.solve(kernel(within) + 1e-2 * np.eye(15), scaled)
    mean, _ = GaussianProcess(within, values, kernel).predict(across)
    np.testing.assert_allclose(mean, values.mean() + values.std() * kernel(across) @ solved, rtol=1e-5)
