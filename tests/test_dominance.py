"""The mathematics of fronts, against Optuna's and against brute force."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from nas.results.dominance import crowding, hypervolume, non_dominated, ranks

coordinates = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])  # few, so that ties are the rule


def points(axes, least=0):
    return st.lists(st.tuples(*[coordinates] * axes), min_size=least, max_size=10)


@given(st.integers(1, 4).flatmap(lambda axes: points(axes, 1)))
def test_the_hypervolume_is_the_one_that_optuna_computes(losses):
    reference = np.full(len(losses[0]), 2.5)
    inside = np.array([point for point in losses if max(point) < 2.5])
    expected = compute_hypervolume(inside, reference) if len(inside) else 0.0
    assert hypervolume(losses, reference) == pytest.approx(expected)


@given(points(3, 1), st.tuples(*[coordinates] * 3))
def test_one_more_point_grows_the_hypervolume_exactly_if_nothing_covers_it(losses, point):
    assume(max(point) < 2.5)
    before, after = (hypervolume(some, (2.5, 2.5, 2.5)) for some in (losses, [*losses, point]))
    covered = any(all(a <= b for a, b in zip(other, point, strict=True)) for other in losses)
    assert (after == pytest.approx(before)) if covered else after > before


def test_nothing_has_no_hypervolume():
    assert hypervolume([], (1.0, 1.0)) == 0
    assert hypervolume([(2.0, 0.0)], (1.0, 1.0)) == 0


@given(st.integers(1, 3).flatmap(lambda axes: points(axes, 1)))
def test_a_rank_is_the_length_of_the_longest_chain_of_points_that_dominate_each_other(losses):
    def dominates(one, other):
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    def depth(point):
        return max((1 + depth(other) for other in losses if dominates(other, point)), default=0)

    assert list(ranks(losses)) == [depth(point) for point in losses]


def test_ranks_can_end_once_enough_points_have_theirs():
    losses = [(number % 7, number // 7) for number in range(49)]
    whole, some = ranks(losses), ranks(losses, 6)
    known = some < some.max()
    assert known.sum() >= 6
    assert list(some[known]) == list(whole[known])
    assert set(some[~known]) == {whole[~known].min()}


def test_crowding_is_the_sum_of_the_gaps_to_the_neighbours():
    # Deb et al. 2002: (4 - 0) / 4 of the first axis and (8 - 1) / 8 of the second for the middle point.
    distance = crowding([(0, 8), (1, 3), (4, 1), (2, 0)])
    assert distance[0] == distance[2] == distance[3] == np.inf
    assert distance[1] == pytest.approx((2 - 0) / 4 + (8 - 1) / 8)


@pytest.mark.filterwarnings("error")
def test_what_lies_beside_an_infinite_loss_is_infinitely_far_from_it():
    distance = crowding([(0, 9), (1, 4), (2, 3), (3, 2), (np.inf, 0)])
    assert distance[1] == pytest.approx(0 + (9 - 3) / 9)
    assert distance[3] == distance[4] == np.inf


@given(points(2, 1), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_change_crowding(losses, random):
    order = random.sample(range(len(losses)), len(losses))
    distance = crowding(losses)
    assert list(crowding([losses[index] for index in order])) == [distance[index] for index in order]
    for one, a in zip(losses, distance, strict=True):
        assert all(a == b for other, b in zip(losses, distance, strict=True) if other == one)


def test_non_dominated_points_of_many_are_found_as_by_brute_force():
    losses = np.random.default_rng(0).integers(0, 30, (400, 3))
    brute = [not ((losses <= point).all(1) & (losses < point).any(1)).any() for point in losses]
    assert non_dominated(losses) == brute
