"""The samplers: what they propose follows from the history alone, and the history is enough."""

import hashlib
import random
from dataclasses import replace

import numpy as np
import pytest
from optuna.samplers import TPESampler

from nas.registry import create
from nas.results.dominance import non_dominated
from nas.results.records import COMPLETE, FAILED, REJECTED, RUNNING, History, Record
from nas.search.samplers._optuna import OptunaSampler, Part
from nas.search.samplers.tpe import _groups
from nas.seeds import derive
from nas.space import Architecture, Float, Int, SearchSpace
from nas.space.search_space import Group, Select

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
SAMPLERS = {
    "tpe": {"tpe": {"startup": 5}},
    "nsga2": {"nsga2": {"population": 6}},
    "random": {"random": {}},
    "evolution": {"evolution": {"startup": 5, "children": 12}},
    "qmc": {"qmc": {}},
    "nsga3": {"nsga3": {"population": 6}},
    "nsga2 of a part": {"nsga2": {"population": 6, "history": 16}},
}
TRAINING = Group({"learning_rate": Float(1e-5, 1e-1, log=True), "weight_decay": Float(1e-6, 1.0, log=True)})
MLP = Group({"dropout": Float(0.0, 0.5)})
TOPOLOGY = Select(
    "topology",
    {
        "ring": Group({"k": Int(2, 8, step=2)}),
        "watts_strogatz": Group({"k": Int(2, 16, step=2), "beta": Float(0.0, 1.0)}),
    },
)
SPACE = SearchSpace(
    Group(
        {
            "dim": Int(16, 96, log=True),
            "connector": Select(
                "connector",
                {
                    "none": Group({}),
                    "small_world": Group({"layers": Int(1, 3), "topology": TOPOLOGY}),
                },
            ),
            "fusion": Select("fusion", {"concat": Group({}), "late": Group({}), "gate": Group({})}),
            "head": Select("head", {"linear": Group({}), "mlp": MLP}),
            "training": TRAINING,
        }
    )
)
SIMPLE_SPACE = SearchSpace(
    Group({"dim": Int(16, 96, log=True), "head": Select("head", {"mlp": MLP}), "training": TRAINING})
)


def sampler(name):
    [(component, options)] = SAMPLERS[name].items()
    return create("sampler", component, **options)


def measure(architecture):
    """A deterministic stand-in for a training: width costs parameters, the settings have to fit."""
    training, [head] = architecture["training"], architecture["head"].values()
    miss = (
        (np.log10(training["learning_rate"]) + 2.5) ** 2
        + (np.log10(training["weight_decay"]) + 3) ** 2 / 4
        + (4 * head.get("dropout", 0.1) - 0.4) ** 2
    )
    accuracy = (architecture["dim"] / 96) ** 0.5 * np.exp(-miss)
    return {"accuracy": float(accuracy), "parameters": float(architecture["dim"] ** 2)}


def fate(number, architecture):
    """How a trial ends, by hashing: most complete, some fail, some are rejected."""
    draw = hashlib.sha256(f"{number}/{architecture.id}".encode()).digest()[0]
    return FAILED if draw < 35 else REJECTED if draw < 50 else COMPLETE


def finish(record, told):
    state = fate(record.number, record.architecture)
    if state == COMPLETE:
        return replace(record, state=state, told=told, values=measure(record.architecture), seconds=1.0)
    kind = "error" if state == FAILED else "constraint"
    return replace(record, state=state, told=told, failure=(kind, "made up"), seconds=1.0)


def live(proposer, trials, workers=1, seed=0, space=SPACE):
    """A search as the driver does it; with several workers, trials finish out of order."""
    rng = np.random.default_rng(seed)
    records, running, told = [], [], 0
    while told < trials:
        while len(running) < workers and len(records) < trials:
            number = len(records)
            architecture = proposer.propose(space, History(records, OBJECTIVES), derive(seed, number))
            records.append(Record(number, seed, architecture, RUNNING, asked_after=told))
            running.append(number)
        number = running.pop(rng.integers(len(running)))
        records[number] = finish(records[number], told)
        told += 1
    return records


def as_of(records, number):
    """The history that trial `number` was asked with."""
    known = records[number].asked_after
    return History(
        [
            record
            if record.told < known
            else Record(record.number, record.seed, record.architecture, RUNNING, record.asked_after)
            for record in records[:number]
        ],
        OBJECTIVES,
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_sampler_proposes_what_the_one_that_lived_on_proposed(name, workers):
    records = live(sampler(name), 45, workers)
    assert {COMPLETE, FAILED} <= {record.state for record in records}
    told = [record.told for record in records]
    assert (told == sorted(told)) == (workers == 1)
    for stop in (1, 9, 31):
        resumed = sampler(name)
        for number in range(stop, 45):
            again = resumed.propose(SPACE, as_of(records, number), derive(0, number))
            assert again == records[number].architecture, f"stopped before {stop}, trial {number} differs"


@pytest.mark.parametrize("name", SAMPLERS)
def test_asking_again_or_about_something_else_in_between_changes_nothing(name):
    records = live(sampler(name), 30, workers=2)
    others = live(sampler(name), 30, workers=2, seed=1)
    one = sampler(name)
    for number in (29, 12, 20, 20, 29):
        assert one.propose(SPACE, as_of(records, number), derive(0, number)) == records[number].architecture
        assert one.propose(SPACE, as_of(others, number), derive(1, number)) == others[number].architecture


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposing_leaves_the_history_and_the_global_generators_alone(name):
    records = live(sampler(name), 20)
    history = History(tuple(records), OBJECTIVES)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    sampler(name).propose(SPACE, history, 3)
    assert list(history.records) == records
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"qmc"}))  # whose seed is an option
def test_another_seed_proposes_something_else(name):
    one, other = live(sampler(name), 15), live(sampler(name), 15, seed=1)
    assert all(a.architecture != b.architecture for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_proposed_lies_in_the_space(name):
    assert all(record.architecture in SPACE for record in live(sampler(name), 30))


@pytest.mark.parametrize("name", SAMPLERS)
def test_architectures_outside_the_space_are_passed_over(name):
    records = live(sampler(name), 20)
    strangers = {3: {"dim": 7}, 11: records[11].architecture.to_data() | {"head": {"stranger": {}}}}
    for number, tree in strangers.items():
        records[number] = replace(records[number], architecture=Architecture(tree))
    for number in range(12, 20):
        assert sampler(name).propose(SPACE, as_of(records, number), derive(0, number)) in SPACE


def hypervolume(records):
    """Area that the front dominates below accuracy 0 and the largest network."""
    points = [(-r.values["accuracy"], r.values["parameters"] / 96**2) for r in records if r.state == COMPLETE]
    front = sorted(point for point, kept in zip(points, non_dominated(points), strict=True) if kept)
    area, ceiling = 0.0, 1.0
    for loss, size in front:
        area += -loss * (ceiling - size)
        ceiling = size
    return area


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_what_learns_from_the_history_finds_a_better_front_than_random(name):
    def median(name):
        runs = [live(sampler(name), 60, seed=seed, space=SIMPLE_SPACE) for seed in range(5)]
        return np.median([hypervolume(records) for records in runs])

    assert median(name) > 1.1 * median("random")


def optunas_tpe(seed):
    return TPESampler(seed=seed, n_startup_trials=5, n_ei_candidates=24, multivariate=True, group=True)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_proposes_what_optunas_does_where_all_decisions_occur_together():
    records = live(sampler("random"), 30, space=SIMPLE_SPACE)
    ours = create("sampler", "tpe", startup=5, candidates=24)
    theirs = OptunaSampler(optunas_tpe, history=100)
    for seed in range(5):
        history = History(records, OBJECTIVES)
        assert ours.propose(SIMPLE_SPACE, history, seed) == theirs.propose(SIMPLE_SPACE, history, seed)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_draws_together_what_optunas_does():
    theirs, history = (
        OptunaSampler(optunas_tpe, history=100),
        History(live(sampler("random"), 40), OBJECTIVES),
    )
    theirs.propose(SPACE, history, 0)
    study = theirs._mirror._study
    decomposed = study.sampler._group_decomposed_search_space.calculate(study).search_spaces
    together = {frozenset(group) for group in _groups(study).values()}
    assert together == {frozenset(group) for group in decomposed}
    assert len(together) > 3


# The part of a long history that slow samplers see


def test_a_part_is_the_most_recent_trials_and_the_front_before_them_in_their_order():
    records = live(sampler("random"), 60, workers=3)
    whole = History(records, OBJECTIVES)
    seen = Part(20)(whole)
    assert [record.number for record in seen.records] == list(range(len(seen.records)))
    recent = records[40:]
    assert [r.architecture for r in seen.records[-20:]] == [r.architecture for r in recent]
    before = History(records[:40], OBJECTIVES).front()
    assert {r.architecture for r in seen.records[:-20]} == {member.architecture for member in before}
    kept = [next(r for r in records if r.architecture == s.architecture) for s in seen.records]
    assert [s.values for s in seen.records] == [r.values for r in kept]
    assert np.argsort([s.told for s in seen.records]).tolist() == np.argsort([r.told for r in kept]).tolist()
    for s, r in zip(seen.records, kept, strict=True):
        assert s.asked_after == sum(other.told < r.asked_after for other in kept)


def test_a_part_grows_for_half_its_size_before_it_moves_on_and_a_short_history_is_whole():
    records = live(sampler("random"), 60)
    part = Part(20)
    assert part(History(records[:20], OBJECTIVES)).records == records[:20]
    firsts = []
    for count in range(21, 60):
        last = part(History(records[:count], OBJECTIVES)).records
        own = [record.architecture for record in records[:count]]
        recent = [r.architecture for r in last if own.index(r.architecture) >= 10 * -(-(count - 20) // 10)]
        firsts.append(own.index(recent[0]))
        assert 10 < len(recent) <= 20
    assert firsts == [10] * 10 + [20] * 10 + [30] * 10 + [40] * 9


# Constraints


def constrained(proposer, trials, bound, seed=0, scouted=None):
    """A search of one worker under a bound on the parameters, which rejects before the training."""
    records = []
    for number in range(trials):
        bounds = {"parameters": f"<= {bound}"}
        history = History(records, OBJECTIVES, bounds, scouted=scouted or {})
        architecture = proposer.propose(SPACE, history, derive(seed, number))
        values = measure(architecture)
        record = Record(
            number, seed, architecture, COMPLETE, number, cheap={"parameters": values["parameters"]}
        )
        if values["parameters"] > bound:
            record = replace(record, state=REJECTED, told=number, failure=("constraint", "too large"))
        else:
            record = replace(record, told=number, values=values, seconds=1.0)
        records.append(record)
    return records


@pytest.mark.parametrize("name", ["tpe", "nsga2", "evolution"])
def test_a_sampler_learns_what_a_constraint_rejects(name):
    rejected = {"random": 0, name: 0}
    for choice in rejected:
        for seed in range(3):
            records = constrained(sampler(choice), 60, 24**2, seed)
            rejected[choice] += sum(record.state == REJECTED for record in records[20:])
    assert rejected[name] < 0.75 * rejected["random"]


def scouted(seed, count=64):
    """Networks that are not trained, with their parameters."""
    rng = np.random.default_rng(seed)
    architectures = [SPACE.sample(rng) for _ in range(count)]
    return {a: {"parameters": measure(a)["parameters"]} for a in architectures}


def test_evolution_keeps_a_constraint_from_the_start_where_networks_were_scouted():
    rejected = {True: 0, False: 0}
    for scouts in rejected:
        for seed in range(3):
            records = constrained(sampler("evolution"), 20, 24**2, seed, scouted(seed) if scouts else None)
            rejected[scouts] += sum(record.state == REJECTED for record in records)
    assert rejected[True] < 0.4 * rejected[False]


def test_evolution_learns_sizes_from_networks_that_are_not_trained():
    """All trials have the same parameters, so that they say nothing of where small networks are."""
    dims = {True: [], False: []}
    for scouts in dims:
        for seed in range(5):
            records, rng = [], np.random.default_rng(seed)
            while len(records) < 12:
                tree = SPACE.sample(rng).to_data() | {"dim": 64}
                record = Record(len(records), seed, Architecture(tree), COMPLETE, len(records))
                records.append(replace(record, told=record.number, values=measure(record.architecture)))
            history = History(records, OBJECTIVES, scouted=scouted(seed) if scouts else {})
            dims[scouts].append(sampler("evolution").propose(SPACE, history, seed)["dim"])
    assert np.mean(dims[True]) < 0.75 * np.mean(dims[False])


def test_optuna_is_told_by_how_much_a_constraint_was_exceeded():
    records = constrained(sampler("random"), 20, 24**2)
    history = History(records, OBJECTIVES, {"parameters": f"<= {24**2}"})
    proposer = sampler("tpe")
    proposer.propose(SPACE, history, 0)
    mirrored = proposer._mirror._study.get_trials()[: len(records)]
    told = [trial.constraints["parameters"] for trial in mirrored]
    assert told == [record.cheap["parameters"] - 24**2 for record in records]
