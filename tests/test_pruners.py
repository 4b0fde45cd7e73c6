"""Early stopping: what is on the front is never stopped, and nothing but the numbers matters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.registry import create
from nas.results.records import COMPLETE, PRUNED, RUNNING, History, Record
from nas.space import Architecture

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
NAN = float("nan")

accuracies = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0, NAN]), st.floats(0, 1))
rungs = st.lists(st.tuples(accuracies, st.integers(1, 5)), min_size=1, max_size=30)


def running(number, curve, parameters):
    metrics = tuple({"accuracy": value} for value in curve)
    architecture = Architecture({"dim": number + 1})
    return Record(number, 0, architecture, RUNNING, 0, cheap={"parameters": parameters}, metrics=metrics)


def complete(record):
    values = {**record.metrics[-1], **record.cheap}
    return replace(record, state=COMPLETE, told=record.number, values=values)


def stops(pruner, records, number=0):
    return pruner.stops(records[number], History(records, OBJECTIVES))


def at_one_rung(rows):
    return [running(number, [value], size) for number, (value, size) in enumerate(rows)]


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_a_trial_that_dominates_all_others_at_its_rung_is_never_stopped(eta):
    pruner, random = create("pruner", "rungs", eta=eta), np.random.default_rng(eta)
    for _ in range(1000):
        rows = [(random.uniform(0, 0.9), int(random.integers(2, 9))) for _ in range(random.integers(0, 40))]
        assert not stops(pruner, at_one_rung([(0.95, 1), *rows]))


@settings(max_examples=1000)
@given(rungs)
def test_a_trial_that_no_other_dominates_at_its_rung_is_never_stopped(rows):
    records = at_one_rung(rows)
    (value, size), others = rows[0], rows[1:]
    beaten = any(v >= value and s <= size and (v, s) != (value, size) for v, s in others)
    if value == value and not beaten:
        assert not stops(create("pruner", "rungs"), records)


@settings(max_examples=1000)
@given(rungs, st.randoms(use_true_random=False))
def test_the_order_of_the_other_trials_does_not_matter(rows, random):
    others = rows[1:]
    shuffled = random.sample(others, len(others))
    pruner = create("pruner", "rungs")
    assert stops(pruner, at_one_rung(rows)) == stops(pruner, at_one_rung([rows[0], *shuffled]))


@settings(max_examples=1000)
@given(rungs)
def test_equal_trials_share_their_fate(rows):
    records = at_one_rung([*rows, rows[0]])
    pruner = create("pruner", "rungs")
    assert stops(pruner, records) == stops(pruner, records, len(rows))


def test_of_many_dominated_trials_one_in_eta_goes_on():
    pruner = create("pruner", "rungs", eta=3)
    records = at_one_rung([(1 - number / 100, 1) for number in range(30)])
    assert [number for number in range(30) if not stops(pruner, records, number)] == list(range(10))


def test_nan_is_the_worst_of_its_rung():
    pruner = create("pruner", "rungs", eta=2)
    records = at_one_rung([(NAN, 1), (0.3, 1), (0.2, 1), (0.1, 1)])
    assert stops(pruner, records)
    assert not stops(pruner, records, 1)


def test_trials_are_judged_at_rungs_alone():
    pruner = create("pruner", "rungs", first=1, eta=3)
    good = [running(number, [0.9] * 9, 1) for number in range(1, 10)]
    judged = [epoch for epoch in range(1, 10) if stops(pruner, [running(0, [0.1] * epoch, 2), *good])]
    assert judged == [1, 3, 9]


def saturating(number, end, size, epochs=8):
    return running(number, [end * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs)], size)


def front_of(count=12):
    """Complete trials on a line: twice the size for a tenth of accuracy."""
    random = np.random.default_rng(1)
    ends = [0.5 + 0.04 * number + random.normal(0, 0.004) for number in range(count)]
    return [complete(saturating(n, end, 100 * 1.3**n)) for n, end in enumerate(ends)]


def test_a_trial_that_cannot_reach_the_front_at_its_size_is_stopped_and_one_that_can_goes_on():
    records = front_of()
    pruner = create("pruner", "dominance")
    hopeless = saturating(len(records), 0.5, 1500.0, epochs=3)
    promising = saturating(len(records), 0.93, 1000.0, epochs=3)
    assert stops(pruner, [*records, hopeless], -1)
    assert not stops(pruner, [*records, promising], -1)


def test_the_smallest_trial_is_never_stopped_whatever_its_accuracy():
    records = front_of()
    assert not stops(create("pruner", "dominance"), [*records, saturating(12, 0.01, 50.0, epochs=4)], -1)


def test_nothing_is_stopped_before_enough_trials_are_complete():
    records = front_of(7)
    hopeless = saturating(7, 0.1, 1e6, epochs=5)
    assert not stops(create("pruner", "dominance", startup=8), [*records, hopeless], -1)
    assert stops(create("pruner", "dominance", startup=7), [*records, hopeless], -1)


def test_a_trial_that_has_become_nan_is_stopped_where_something_is_as_small():
    records = front_of()
    broken = running(12, [0.3, NAN], 1e6)
    assert stops(create("pruner", "dominance"), [*records, broken], -1)


@given(st.lists(st.tuples(st.floats(0.3, 0.99), st.integers(100, 5000)), min_size=20, max_size=40))
def test_no_trial_that_would_end_on_the_front_of_curves_of_one_family_is_stopped(rows):
    pruner = create("pruner", "dominance")
    trials = [saturating(number, end, float(size)) for number, (end, size) in enumerate(rows)]
    history = History([complete(trial) for trial in trials], OBJECTIVES)
    members = {candidate.number for candidate in history.front()}
    records = []
    for trial in trials:
        records.append(trial)
        stopped = any(
            stops(pruner, [*records[:-1], replace(trial, metrics=trial.metrics[:epoch])], -1)
            for epoch in range(1, 8)
        )
        assert not (stopped and trial.number in members)
        ended = replace(trial, state=PRUNED, failure=("pruned", "")) if stopped else complete(trial)
        records[-1] = ended


@pytest.mark.parametrize(
    ("name", "option"), [("rungs", {"eta": 1}), ("rungs", {"first": 0}), ("dominance", {"startup": 1})]
)
def test_an_option_that_makes_no_sense_is_refused_by_name(name, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        create("pruner", name, **option)
