"""SmallWorldBench: a table that is what it says, and searches on it that are those of the study."""

import numpy as np
import pytest

import nas
from nas.bench import SmallWorldBench
from nas.network import build
from nas.registry import create
from nas.results.records import COMPLETE, PRUNED, REPEATS
from nas.search.simulation import simulate


@pytest.fixture(scope="module")
def bench():
    return SmallWorldBench.load()


def found(bench, sampler="random", pruner=None, **options):
    return simulate(bench, create("sampler", sampler), pruner, **options)


def test_the_table_holds_every_network_of_its_space_and_its_figures_are_shares(bench):
    assert len(bench.index) == bench.space.size == len(bench.accuracy) >= 500
    assert ((bench.accuracy >= 0) & (bench.accuracy <= 1)).all()
    assert (bench.seconds > 0).all()


def test_the_accuracy_at_the_end_is_the_share_of_right_samples(bench):
    assert bench.validation.mean(2) == pytest.approx(bench.accuracy[..., -1], abs=1e-6)


def test_the_parameters_are_those_of_the_network_that_is_built(bench):
    dataset = nas.load_dataset("avt_digits")
    for architecture in list(bench.index)[::97]:
        network = build(architecture, dataset.modalities, dataset.task)
        counted = sum(parameter.numel() for parameter in network.parameters())
        assert bench.known(architecture)["parameters"] == counted


def test_everything_covers_everything_and_nothing_covers_nothing(bench):
    assert bench.coverage(bench.index) == pytest.approx(1)
    assert bench.coverage([]) == 0


def test_a_search_is_the_same_again_and_covers_more_and_more(bench):
    one, other = (found(bench, "evolution", trials=30, seed=3) for _ in range(2))
    assert one.history.records == other.history.records
    assert one.coverage[-1] > one.coverage[0]
    assert len({record.architecture for record in one.history.records}) == 30


def test_what_is_told_is_what_the_table_holds(bench):
    for record in found(bench, trials=15).history.records:
        row = bench.index[record.architecture]
        assert record.state == COMPLETE
        assert record.values["accuracy"] in bench.accuracy[row, :, -1]
        assert len(record.metrics) == bench.epochs


def test_the_clock_of_one_worker_is_the_sum_of_the_trainings_and_two_take_about_half(bench):
    one, two = found(bench, trials=40), found(bench, trials=40, workers=2)
    rows = [bench.index[record.architecture] for record in one.history.records]
    low, high = bench.seconds[rows].min(1).sum(), bench.seconds[rows].max(1).sum()
    assert low <= one.seconds[-1] <= high + 1e-6
    assert two.seconds[-1] == pytest.approx(one.seconds[-1] / 2, rel=0.1)
    assert list(two.seconds) == sorted(two.seconds)


@pytest.mark.parametrize(("name", "least", "most_epochs"), [("dominance", 0.99, 0.5), ("rungs", 0.98, 0.4)])
def test_a_pruner_keeps_the_front_for_its_share_of_the_epochs(bench, name, least, most_epochs):
    shares = []
    for seed in range(3):
        whole = found(bench, trials=150, seed=seed)
        stopped = found(bench, trials=150, seed=seed, pruner=create("pruner", name))
        assert stopped.coverage[-1] >= least * whole.coverage[-1]
        shares.append(stopped.epochs[-1] / whole.epochs[-1])
        front = {member.number for member in whole.history.front()}
        ended = {record.number for record in stopped.history.records if record.state == PRUNED}
        assert len(front & ended) <= 1
        assert all(not stopped.history.records[number].values for number in ended)
    assert np.mean(shares) < most_epochs


@pytest.mark.parametrize("none", ["trials", "workers"])
def test_a_search_without_trials_or_workers_is_refused_by_name(bench, none):
    with pytest.raises(ValueError, match=f"{none} must be a whole number of at least 1, not 0"):
        found(bench, **{none: 0})


def test_replicates_take_the_seeds_of_the_table_in_turn(bench):
    history = found(bench, trials=12, seeds=bench.seeds).history
    for candidate in history.candidates:
        values = [record.values["accuracy"] for record in candidate.records]
        expected = bench.accuracy[bench.index[candidate.architecture], :, -1]
        assert sorted(values) == pytest.approx(sorted(expected))


@pytest.mark.parametrize("name", ["dominance", "rungs"])
@pytest.mark.parametrize("options", [{"racing": 0.3}, {"seeds": 3}])
def test_a_pruner_leaves_no_gap_among_the_trainings_of_a_network_on_the_front(bench, name, options):
    for seed in range(2):
        history = found(bench, trials=100, seed=seed, pruner=create("pruner", name), **options).history
        stopped = {record.architecture for record in history.records if record.state == PRUNED}
        assert stopped
        assert any(len(candidate.records) > 1 for candidate in history.candidates)
        assert not stopped & {candidate.architecture for candidate in history.candidates}


def test_replicates_under_way_are_stopped_with_the_training_that_they_repeat(bench):
    history = found(bench, trials=90, workers=3, seeds=3, pruner=create("pruner", "rungs")).history
    repeats = [record for record in history.records if record.origin.operator in REPEATS]
    states = {(history.records[record.origin.parents[0]].state, record.state) for record in repeats}
    assert states == {(COMPLETE, COMPLETE), (PRUNED, PRUNED)}


def test_evolution_is_ahead_of_random_search(bench):
    scores = {
        name: np.mean([found(bench, name, trials=40, seed=seed).coverage[-1] for seed in range(3)])
        for name in ("random", "evolution")
    }
    assert scores["evolution"] > scores["random"] + 0.02
