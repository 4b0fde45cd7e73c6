"""The front: the complete trials that no other dominates, and no others."""

import csv
from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from scipy.stats import sem, t

from nas.results.belonging import certainty, margins
from nas.results.dominance import non_dominated
from nas.results.records import (
    COMPLETE,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    WAITING,
    History,
    Record,
)
from nas.results.run_directory import RunDirectory
from nas.space import Architecture

DIRECTIONS = {"accuracy": "maximize", "parameters": "minimize", "flops": "minimize"}

# Few distinct values, so that ties and duplicates are the rule.
numbers = st.sampled_from([0.0, 0.25, 1.0, -3.0, 1e9, float("inf"), float("-inf")])


def points(axes):
    return st.lists(st.tuples(*[numbers] * axes), max_size=14)


def record(number, state=COMPLETE, **values):
    return Record(
        number, 0, Architecture({"dim": number + 1}), state, asked_after=0, told=number, values=values
    )


def history(rows, names):
    """Complete records with the given values of the named objectives."""
    records = [record(n, **dict(zip(names, row, strict=True))) for n, row in enumerate(rows)]
    return History(records, {name: DIRECTIONS[name] for name in names})


def front(records, *names):
    return [member.number for member in History(records, {n: DIRECTIONS[n] for n in names}).front()]


def dominates(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


@given(st.integers(1, 3).flatmap(points))
def test_a_point_is_on_the_front_exactly_if_no_other_dominates_it(losses):
    expected = [not any(dominates(other, point) for other in losses) for point in losses]
    assert non_dominated(losses) == expected


@given(st.integers(2, 3).flatmap(points))
def test_the_front_is_the_one_that_optuna_finds(rows):
    names = list(DIRECTIONS)[: len(rows[0]) if rows else 2]
    ours = history(rows, names)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[DIRECTIONS[name] for name in names])
    study.add_trials(create_trial(state=TrialState.COMPLETE, values=row) for row in rows)
    expected = {trial.number for trial in study.best_trials}
    assert {member.number for member in ours.front()} == expected


@given(points(2), st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(losses, random):
    order = list(range(len(losses)))
    random.shuffle(order)
    verdicts = non_dominated(losses)
    assert non_dominated([losses[index] for index in order]) == [verdicts[index] for index in order]


def test_equal_points_are_all_on_the_front():
    assert non_dominated([(1, 2), (1, 2), (1, 3)]) == [True, True, False]


def test_no_point_is_no_front():
    assert non_dominated([]) == []
    assert front([], "accuracy", "parameters") == []


def test_the_front_of_one_objective_is_the_best_and_its_equals():
    rows = [record(n, accuracy=value) for n, value in enumerate([0.5, 0.9, 0.7, 0.9])]
    assert front(rows, "accuracy") == [1, 3]


def test_a_maximised_and_a_minimised_objective_are_each_taken_in_their_direction():
    rows = [
        record(0, accuracy=0.9, parameters=100),
        record(1, accuracy=0.8, parameters=50),
        record(2, accuracy=0.7, parameters=60),  # worse than 1 in both
        record(3, accuracy=0.95, parameters=200),
        record(4, accuracy=0.9, parameters=101),  # as good as 0, and larger
    ]
    assert front(rows, "accuracy", "parameters") == [1, 0, 3]


def test_the_front_is_ordered_by_the_last_objective_then_by_number():
    rows = [
        record(0, accuracy=0.9, parameters=300),
        record(1, accuracy=0.5, parameters=100),
        record(2, accuracy=0.7, parameters=200),
        record(3, accuracy=0.5, parameters=100),
    ]
    assert front(rows, "accuracy", "parameters") == [1, 3, 2, 0]


def test_what_is_logged_but_not_an_objective_does_not_matter():
    rows = [record(0, accuracy=0.9, parameters=100), record(1, accuracy=0.8, parameters=1)]
    assert front(rows, "accuracy") == [0]


@pytest.mark.parametrize("state", [FAILED, PRUNED, REJECTED, RUNNING, WAITING])
def test_a_trial_that_is_not_complete_is_never_on_the_front_and_hides_nobody(state):
    rows = [record(0, state, accuracy=1.0, parameters=0), record(1, accuracy=0.1, parameters=10)]
    assert front(rows, "accuracy", "parameters") == [1]


def replicated():
    """Three networks: one trained three times, one twice, one once; the last is dominated."""
    rows = [(0, 0.90, 50), (1, 0.80, 40), (0, 0.92, 50), (1, 0.84, 40), (0, 0.97, 50), (2, 0.7, 60)]
    records = [
        replace(
            record(n, accuracy=accuracy, parameters=size),
            architecture=Architecture({"dim": network, "encoders": {"a": {"cnn": {}}}}),
        )
        for n, (network, accuracy, size) in enumerate(rows)
    ]
    return History(records, {name: DIRECTIONS[name] for name in ("accuracy", "parameters")})


def test_the_margin_of_a_mean_is_half_of_student_s_interval():
    values = [0.90, 0.92, 0.97]
    alone = History(replicated().records[::2][:3], {"accuracy": "maximize"})
    low, high = t.interval(0.95, 2, loc=np.mean(values), scale=sem(values))
    assert margins(alone) == {0: {"accuracy": pytest.approx((high - low) / 2)}}


def test_margins_stand_on_the_deviation_pooled_over_all_networks():
    squares = np.var([0.90, 0.92, 0.97]) * 3 + np.var([0.80, 0.84]) * 2
    width = t.ppf(0.975, 3) * np.sqrt(squares / 3)
    assert {number: own["accuracy"] for number, own in margins(replicated()).items()} == pytest.approx(
        {0: width / 3**0.5, 1: width / 2**0.5, 5: width}
    )
    assert all("parameters" not in own for own in margins(replicated()).values())


def test_pareto_csv_has_margins_and_the_certainty_of_the_front_where_networks_were_replicated(tmp_path):
    history = replicated()
    RunDirectory(tmp_path).write_tables(history)
    rows = list(csv.DictReader((tmp_path / "pareto.csv").open()))
    assert [(row["number"], row["trainings"]) for row in rows] == [("1", "2"), ("0", "3")]
    for row in rows:
        assert float(row["accuracy_margin"]) == margins(history)[int(row["number"])]["accuracy"]
        assert float(row["sure"]) == certainty(history)[int(row["number"])]
    once = History([history.records[0], history.records[1]], history.objectives)
    RunDirectory(tmp_path).write_tables(once)
    assert "sure" not in (tmp_path / "pareto.csv").read_text()
