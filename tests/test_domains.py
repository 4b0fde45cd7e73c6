"""Domains: one source for sampling, validation and documentation of a value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.space import Choice, Expression, Float, Int
from nas.space.domains import domain_from_data


@st.composite
def ints(draw):
    low = draw(st.integers(-50, 50))
    high = low + draw(st.integers(0, 60))
    log = low >= 1 and draw(st.booleans())
    return Int(low, high, log=log, step=1 if log else draw(st.integers(1, 7)))


@st.composite
def floats(draw):
    log = draw(st.booleans())
    bounds = st.floats(1e-6, 1e6) if log else st.floats(-1e6, 1e6)
    low, high = sorted([draw(bounds), draw(bounds)])
    return Float(low, high, log=log)


plain = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9).map(lambda x: x + 0.0) | st.text()
choices = st.lists(plain, min_size=1, max_size=6, unique_by=lambda v: (isinstance(v, bool), v)).map(Choice)
expressions = st.builds(Expression, st.sampled_from([("f",), ("f", "g", "h")]), st.integers(1, 5))
domains = ints() | floats() | choices | expressions


@given(domains, st.integers(0, 2**32))
def test_samples_are_contained(domain, seed):
    rng = np.random.default_rng(seed)
    assert all(domain.contains(domain.sample(rng)) for _ in range(20))


@given(domains)
def test_domains_survive_their_data(domain):
    again = domain_from_data(domain.to_data())
    assert again == domain
    assert type(again) is type(domain)


@given(ints())
def test_the_size_of_whole_numbers_is_the_count_of_those_contained(domain):
    contained = [value for value in range(domain.low - 9, domain.high + 10) if domain.contains(value)]
    assert domain.size == len(contained)
    assert list(domain) == contained


@given(ints(), st.integers(0, 99))
def test_every_value_is_sampled_in_the_end(domain, seed):
    rng = np.random.default_rng(seed)
    small = Int(domain.low, min(domain.high, domain.low + 4), log=domain.log, step=domain.step)
    assert {small.sample(rng) for _ in range(200)} == set(small)


def test_sizes_of_the_other_domains():
    assert Float(0, 1).size == math.inf
    assert Float(2, 2).size == 1
    assert Choice("a", "b", None).size == 3


def test_a_step_that_overshoots_lowers_the_bound():
    assert Int(2, 15, step=4) == Int(2, 14, step=4)
    assert list(Int(2, 15, step=4)) == [2, 6, 10, 14]


def test_logarithmic_whole_numbers_are_as_frequent_as_their_share_of_the_logarithm():
    rng = np.random.default_rng(0)
    drawn = np.array([Int(1, 100, log=True).sample(rng) for _ in range(20_000)])
    expected = math.log(10.5 / 0.5) / math.log(100.5 / 0.5)  # 1…10 of 1…100
    assert (drawn <= 10).mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 20_000))


def test_logarithmic_reals_are_uniform_in_the_logarithm():
    rng = np.random.default_rng(0)
    drawn = np.array([Float(1e-4, 1e-2, log=True).sample(rng) for _ in range(20_000)])
    assert (drawn < 1e-3).mean() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 20_000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Int(5, 4), "low must not be greater than high"),
        (lambda: Float(1.0, 0.5), "low must not be greater than high"),
        (lambda: Int(0, 5, log=True), "starts above 0, not at 0"),
        (lambda: Float(0, 1, log=True), "starts above 0, not at 0"),
        (lambda: Float(-1, 1, log=True), "starts above 0, not at -1"),
        (lambda: Int(1, 5, log=True, step=2), "step 1, not 2"),
        (lambda: Int(1, 5, step=0), "step must be at least 1, not 0"),
        (lambda: Int(1.0, 5), "low must be a whole number, not 1.0"),
        (lambda: Int(1, "5"), "high must be a whole number, not '5'"),
        (lambda: Int(True, 5), "low must be a whole number, not True"),
        (lambda: Float("0", 1), "low must be a finite number, not '0'"),
        (lambda: Float(0, math.inf), "high must be a finite number, not inf"),
        (lambda: Float(math.nan, 1), "low must be a finite number, not nan"),
        (lambda: Float(False, 1), "low must be a finite number, not False"),
        (lambda: Choice(), "at least one option"),
        (lambda: Choice([]), "at least one option"),
        (lambda: Choice("a", "b", "a"), "given twice"),
        (lambda: Choice(1, 1.0), "given twice"),
        (lambda: Choice(0.5, math.nan), "nan is not a finite number"),
        (lambda: Choice({"a": 1}), "is not a plain value"),
        (lambda: Choice([[1, 2]]), "is not a plain value"),
    ],
)
def test_empty_inverted_and_mistyped_domains_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "is not a domain; give one of int, float, choice"),
        ({"integer": [1, 2]}, "is not a domain"),
        ({"int": [1, 2], "float": [1, 2]}, "is not a domain"),
        ({"int": [1, 2], "steps": 2}, "'int' has no option 'steps'; allowed: log, step"),
        ({"float": [1, 2], "step": 2}, "'float' has no option 'step'; allowed: log"),
        ({"choice": [1, 2], "log": True}, "'choice' has no option 'log'; allowed: fusible"),
        ({"int": [1, 2], "log": "yes"}, "log must be true or false, not 'yes'"),
        ({"int": 4}, "'int' takes a list, not 4"),
        ({"int": [1, 2, 3]}, r"'int' takes \[low, high\], not \[1, 2, 3\]"),
        ({"choice": "relu"}, "'choice' takes a list, not 'relu'"),
        ({"choice": []}, "at least one option"),
        ({"int": [2, 1]}, "low must not be greater than high"),
    ],
)
def test_data_that_are_no_domain_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        domain_from_data(data)


def test_true_is_not_one():
    assert Choice(True, False).contains(True)
    assert not Choice(True, False).contains(1)
    assert not Choice(1, 0).contains(True)
    assert Choice(True, 1).size == 2
    assert not Int(0, 1).contains(True)
    assert not Float(0, 1).contains(True)


def test_a_number_is_contained_however_it_is_written():
    assert Choice(0.0, 0.5).contains(0)
    assert Choice(1, 2).contains(2.0)
    assert Float(0, 1).contains(1)
    assert not Int(0, 4).contains(2.0)
    assert Choice(0.0, 0.5).option(0).hex() == (0.0).hex()


def test_text_is_no_number():
    assert not Choice(1, 2).contains("1")
    assert not Int(1, 2).contains("1")
    assert not Float(1, 2).contains("1")


def test_numpy_numbers_become_plain_ones():
    rng = np.random.default_rng(0)
    domain = Int(np.int64(2), np.int32(9), step=np.int64(2))
    assert domain == Int(2, 9, step=2)
    assert type(domain.sample(rng)) is int
    assert domain.contains(np.int64(4))
    assert [type(bound) for bound in domain.to_data()["int"]] == [int, int]
    assert type(Float(np.float32(0), np.int64(1)).high) is float
    assert [type(option) for option in Choice(np.int64(1), np.float64(0.5))] == [int, float]


def test_the_description_shows_bounds_scale_and_step():
    assert str(Int(2, 16, step=2)) == "2…16 step 2"
    assert str(Int(16, 128, log=True)) == "16…128 log"
    assert str(Float(0.0001, 0.5, log=True)) == "0.0001…0.5 log"
    assert str(Choice("a", None, True)) == "{a, None, True}"
