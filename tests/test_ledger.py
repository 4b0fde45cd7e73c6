"""The ledger: what it keeps account of is what the records say, however trials come and go."""

from dataclasses import replace

import numpy as np
import pytest

from nas.results.records import (
    COMPLETE,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    TUNED,
    WAITING,
    History,
    Origin,
    Record,
)
from nas.search.ledger import Ledger
from nas.space import Architecture

STATES = (COMPLETE, COMPLETE, COMPLETE, COMPLETE, FAILED, PRUNED, REJECTED, WAITING)
TWO = {"accuracy": "maximize", "parameters": "minimize"}
OBJECTIVES = [TWO, TWO | {"flops": "minimize"}, {"accuracy": "maximize"}]


def ended(record, rng, told):
    """What may come of a running trial; values are few, so that some are equal, and some are NaN."""
    state = STATES[rng.integers(len(STATES))]
    names = ("accuracy", "parameters", "flops")
    values = {name: float(rng.choice([*range(8), np.nan])) for name in names} if state == COMPLETE else {}
    return replace(record, state=state, values=values, told=None if state == WAITING else told)


def agree(ledger, objectives):
    """Whether all that the ledger knows is what a look through the records finds."""
    kept = History(ledger.records, objectives, standing=ledger.standing)
    found = History(ledger.records, objectives)
    assert kept.candidates == found.candidates
    assert kept.points == found.points
    assert kept.front() == found.front()
    assert list(ledger.unfinished.values()) == [record for record in ledger.records if not record.finished]
    assert ledger.finished == sum(record.finished for record in ledger.records)
    assert ledger.counted == sum(record.counts for record in ledger.records)


@pytest.mark.parametrize("objectives", OBJECTIVES)
@pytest.mark.parametrize("networks", [12, 1000])
def test_the_ledger_knows_at_any_time_what_the_records_say(objectives, networks):
    rng = np.random.default_rng(len(objectives))
    ledger = Ledger([], objectives)
    for number in range(120):
        origin = Origin(TUNED) if rng.random() < 0.1 else Origin()
        architecture = Architecture({"dim": int(rng.integers(networks))})
        ledger.put(Record(number, 0, architecture, RUNNING, 0, origin))
        if len(ledger.unfinished) > 8:
            one = list(ledger.unfinished.values())[rng.integers(8)]
            ledger.put(ended(one, rng, ledger.finished))
        agree(ledger, objectives)
    again = Ledger(ledger.records, objectives)
    assert again.records == ledger.records
    agree(again, objectives)


def test_what_has_finished_stays_as_it_is():
    ledger = Ledger([], TWO)
    running = Record(0, 0, Architecture({"dim": 1}), RUNNING, 0)
    complete = replace(running, state=COMPLETE, values={"accuracy": 1.0, "parameters": 1.0}, told=0)
    for record in (running, complete, replace(complete, metrics=({"accuracy": 0.5},)), running):
        ledger.put(record)
    assert ledger.records == [complete]
    assert [candidate.records for candidate in ledger.standing.candidates] == [(complete,)]
