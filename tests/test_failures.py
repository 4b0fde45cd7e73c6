"""Regions of a space in which trials fail again and again."""

from nas.results.failures import poisoned
from nas.results.records import COMPLETE, FAILED, REJECTED, History, Record
from nas.space import Architecture

OBJECTIVES = {"accuracy": "maximize"}


def trial(number, fusion, state, kind="error", topology="ring"):
    architecture = Architecture(
        {"dim": 8, "connector": {"small_world": {"topology": {topology: {"k": 2}}}}, "fusion": {fusion: {}}}
    )
    failure = None if state == COMPLETE else (kind, "made up")
    return Record(number, 0, architecture, state, 0, failure=failure)


def found(*trials):
    return poisoned(History([trial(number, *given) for number, given in enumerate(trials)], OBJECTIVES))


def test_a_component_of_which_over_half_of_the_trials_fail_is_named_with_the_kinds():
    [region] = found(
        ("gate", FAILED), ("gate", FAILED, "nan"), ("gate", FAILED), ("gate", COMPLETE), ("late", COMPLETE)
    )
    assert str(region) == "3 of 4 trials with fusion = gate failed (error 2, nan 1)"


def test_half_is_not_over_half_and_two_failures_are_no_region():
    half = [("gate", FAILED)] * 3 + [("gate", COMPLETE)] * 3 + [("late", COMPLETE)]
    assert found(*half) == []
    assert found(("gate", FAILED), ("gate", FAILED), ("late", COMPLETE)) == []


def test_what_a_constraint_rejects_is_no_failure():
    assert found(*[("gate", REJECTED, "constraint")] * 5, ("late", COMPLETE)) == []


def test_a_component_within_a_component_is_found_by_its_path():
    regions = found(*[("late", FAILED, "nan", "erdos_renyi")] * 3, *[("late", COMPLETE)] * 9)
    assert [(region.slot, region.component) for region in regions] == [
        ("connector.small_world.topology", "erdos_renyi")
    ]


def test_a_component_that_every_trial_has_is_not_blamed():
    assert found(*[("late", FAILED)] * 5) == []
