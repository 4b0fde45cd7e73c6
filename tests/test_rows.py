"""The rows of a trial are those that Optuna's own calls would have written."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from nas.results.rows import Rows

DISTRIBUTIONS = {
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "width": IntDistribution(4, 64, step=4),
    "fusion": CategoricalDistribution(("concat", "gate", None, True, 3)),
}
ASKED = {
    "params": {"rate": 1e-3, "width": 16, "fusion": "gate"},
    "distributions": DISTRIBUTIONS,
    "user_attrs": {"architecture": {"dim": 16, "head": {"linear": {}}}, "seed": 2**63 + 1, "seconds": None},
    "system_attrs": {"artifacts:1": "{}"},
}
TOLD = {"user_attrs": {"seconds": 1.5, "metrics": [{"accuracy": math.nan}], "cheap": {}}}
ENDS = [
    create_trial(state=TrialState.COMPLETE, values=[0.5, math.inf], constraints={"parameters": -3.0}, **TOLD),
    create_trial(state=TrialState.COMPLETE, values=[-math.inf, 1e-12], **TOLD),
    create_trial(state=TrialState.PRUNED, **TOLD),
    create_trial(state=TrialState.FAIL, **TOLD),
]


@pytest.fixture
def studies(tmp_path):
    """Two studies with their storages: one for the rows, one for Optuna's calls."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storages = [RDBStorage(f"sqlite:///{tmp_path}/{name}.db") for name in ("ours", "theirs")]
    yield [optuna.create_study(storage=one, directions=["maximize", "minimize"]) for one in storages]
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


def running(number):
    trial = create_trial(state=TrialState.RUNNING, **ASKED)
    trial.number = number
    return trial


def shown(study):
    """All that Optuna reads of a study's trials but the times, as text: NaN is not equal to itself."""
    return [
        repr(
            [
                t.number,
                t.state,
                t.values,
                t.params,
                t.distributions,
                sorted(t.user_attrs.items()),
                t.system_attrs,
            ]
        )
        for t in study.get_trials()
    ]


def test_what_is_added_and_ended_reads_as_if_optuna_had_written_it(studies):
    ours, theirs = studies
    rows, storage = Rows(ours._storage._backend, ours._study_id), theirs._storage
    for number, end in enumerate(ENDS):
        own, other = rows.add(running(number)), storage.create_new_trial(theirs._study_id, running(number))
        assert shown(ours) == shown(theirs)
        rows.end(own, end)
        for name, value in end.user_attrs.items():
            storage.set_trial_user_attr(other, name, value)
        for name, value in end.constraints.items():
            optuna.Trial(theirs, other).set_constraint(name, value)
        storage.set_trial_state_values(other, end.state, end.values)
        assert shown(ours) == shown(theirs)
    assert [trial.number for trial in ours.best_trials] == [trial.number for trial in theirs.best_trials]


def test_the_times_of_a_trial_are_those_of_the_clock(studies):
    ours, theirs = studies
    rows = Rows(ours._storage._backend, ours._study_id)
    before = theirs.ask()
    rows.end(rows.add(running(0)), ENDS[0])
    after = theirs.ask()
    [trial] = ours.get_trials()
    assert before.datetime_start <= trial.datetime_start <= trial.datetime_complete <= after.datetime_start


def test_an_attribute_that_is_set_again_has_its_last_value(studies):
    ours, _ = studies
    rows = Rows(ours._storage._backend, ours._study_id)
    rows.annotate({"note": "first", "other": 1})
    rows.annotate({"note": "last"})
    assert ours._storage.get_study_system_attrs(ours._study_id) == {"note": "last", "other": 1}


@pytest.mark.parametrize("statement", range(5))
def test_a_kill_within_a_change_leaves_nothing_of_it(studies, statement):
    ours, _ = studies
    rows = Rows(ours._storage._backend, ours._study_id)
    own = rows.add(running(0))
    before, left = shown(ours), [statement]

    def kill(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    event.listen(ours._storage._backend.engine, "before_cursor_execute", kill)
    with pytest.raises(KeyboardInterrupt):
        rows.end(own, ENDS[0])
    event.remove(ours._storage._backend.engine, "before_cursor_execute", kill)
    assert shown(ours) == before
