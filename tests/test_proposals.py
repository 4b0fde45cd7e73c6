"""What is asked next: no network twice, replicates on purpose, and an end where nothing is left."""

from dataclasses import replace

import numpy as np
import pytest

from nas.errors import RequestError
from nas.modality import ModalitySpec, Task
from nas.network import identity, outline
from nas.registry import create
from nas.results.belonging import belonging, noise
from nas.results.records import COMPLETE, FAILED, RUNNING, History, Record
from nas.search.groups import Groups, shape_class
from nas.search.proposals import Proposals
from nas.seeds import derive
from nas.space import Choice, Float, Int, SearchSpace
from nas.space.assemble import assemble
from nas.space.search_space import Fixed, Group, Select

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
SPACE = SearchSpace(  # 4 × 6 × (1 + 3 + 4) = 192 points
    Group(
        {
            "dim": Choice(8, 16, 32, 64),
            "width": Int(1, 6),
            "fusion": Select(
                "fusion",
                {
                    "late": Group({}),
                    "gate": Group({"temperature": Choice("low", "middle", "high")}),
                    "small_world": Group({"k": Int(2, 8, step=2)}),
                },
            ),
        }
    )
)
MODALITIES = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
TASK = Task("classification", ("a", "b"))
SAMPLERS = ["random", "tpe", "nsga2", "evolution"]


def measured(architecture, seed=0):
    [fusion] = architecture["fusion"]
    skill = {"late": 0.1, "gate": 0.2, "small_world": 0.25}[fusion]
    luck = np.random.default_rng(seed).normal(0, 0.01)
    accuracy = skill + 0.05 * architecture["width"] + 0.1 * np.log2(architecture["dim"] / 8) + luck
    return {"accuracy": float(accuracy), "parameters": float(architecture["dim"] * architecture["width"])}


def search(proposals, trials, state=lambda number: COMPLETE):
    """Ask and tell one after another until there is nothing left."""
    records = []
    while len(records) < trials:
        proposal = proposals.next(History(tuple(records), OBJECTIVES))
        if proposal is None:
            break
        number = len(records)
        record = Record(number, derive(0, number), proposal.architecture, RUNNING, number, proposal.origin)
        if state(number) == COMPLETE:
            values = measured(record.architecture, record.seed)
            ended = replace(record, values=values, metrics=({"accuracy": values["accuracy"]},))
        else:
            ended = replace(record, failure=("error", ""))
        records.append(replace(ended, state=state(number), told=number))
    return records


def test_some_networks_more_are_scouted_with_every_trial_and_only_where_the_sampler_asks():
    asked = []

    def exact(architecture):
        asked.append(architecture)
        return {"parameters": measured(architecture)["parameters"]}

    search(Proposals(SPACE, create("sampler", "random"), 1, exact=exact), 10)
    assert not asked
    evolution = create("sampler", "evolution", scouts=20)
    counts = []
    for trials in range(1, 6):
        search(Proposals(SPACE, evolution, 1, exact=exact), trials)
        counts.append(len(asked))
        asked.clear()
    assert counts == [0, 8, 16, 20, 20]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_hundred_proposals_on_a_space_of_192_points_are_a_hundred_different_ones(name):
    assert SPACE.size == 192
    records = search(Proposals(SPACE, create("sampler", name), 1), 100)
    assert len({record.architecture for record in records}) == 100


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_a_space_is_used_up_to_its_last_point_and_then_there_is_an_end(name):
    records = search(Proposals(SPACE, create("sampler", name), 2), 500)
    assert len(records) == len({record.architecture for record in records}) == 192
    assert all(record.architecture in SPACE for record in records)


def test_every_point_of_a_finite_space_is_listed_once():
    points = list(SPACE.points())
    assert len(points) == len(set(points)) == 192
    assert all(point in SPACE for point in points)


def test_a_space_with_a_real_number_has_no_list_of_its_points():
    with pytest.raises(ValueError, match="real number"):
        SearchSpace(Group({"rate": Float(0, 1)})).points()


def test_a_sampler_that_proposes_no_architecture_is_refused_with_what_it_gave():
    class Empty:
        def propose(self, space, history, seed):
            return None

    with pytest.raises(RequestError, match=r"Empty\.propose gave None; a sampler returns an architecture"):
        search(Proposals(SPACE, Empty(), 1), 1)


def test_what_failed_is_not_tried_again():
    records = search(Proposals(SPACE, create("sampler", "random"), 3), 192, lambda number: FAILED)
    assert len({record.architecture for record in records}) == 192


def test_every_architecture_has_its_trainings_one_after_another():
    records = search(Proposals(SPACE, create("sampler", "random"), 4, seeds=3), 30)
    groups = [records[start : start + 3] for start in range(0, 30, 3)]
    for first, *others in groups:
        assert first.origin.operator == "sampled"
        assert {other.architecture for other in others} == {first.architecture}
        assert all(other.origin.operator == "replicate" for other in others)
        assert all(other.origin.parents == (first.number,) for other in others)
    assert len({group[0].architecture for group in groups}) == 10
    assert len({record.seed for record in records}) == 30


def test_an_architecture_that_fails_is_not_replicated():
    records = search(Proposals(SPACE, create("sampler", "random"), 4, seeds=3), 12, lambda number: FAILED)
    assert len({record.architecture for record in records}) == 12


def test_the_front_stands_on_the_means_of_the_trainings():
    records = search(Proposals(SPACE, create("sampler", "random"), 4, seeds=3), 30)
    history = History(records, OBJECTIVES)
    for candidate in history.candidates:
        own = [r.values["accuracy"] for r in records if r.architecture == candidate.architecture]
        assert candidate.values["accuracy"] == pytest.approx(np.mean(own))
        assert candidate.spread("accuracy") == pytest.approx(np.std(own, ddof=1))
        assert candidate.spread("parameters") == 0
    members = {candidate.number for candidate in history.front()}
    means = [(-c.values["accuracy"], c.values["parameters"]) for c in history.candidates]
    for candidate, (error, size) in zip(history.candidates, means, strict=True):
        beaten = any(e <= error and s <= size and (e, s) != (error, size) for e, s in means)
        assert (candidate.number in members) != beaten


@pytest.mark.parametrize("name", ["random", "qmc", "tpe", "nsga2", "nsga3", "gp", "evolution"])
def test_a_space_of_one_network_has_its_trainings_and_then_there_is_an_end(name):
    late = Select("fusion", {"late": Group({})})
    pinned = SearchSpace(Group({"dim": Fixed(8), "width": Fixed(1), "fusion": late}))
    records = search(Proposals(pinned, create("sampler", name), 0, seeds=5), 10)
    assert [record.origin.operator for record in records] == ["sampled", *["replicate"] * 4]


def test_races_take_their_share_and_go_where_the_front_is_in_doubt():
    records = search(Proposals(SPACE, create("sampler", "random"), 5, racing=0.4), 100)
    raced = [record for record in records if record.origin.operator == "race"]
    assert 0.3 < len(raced) / len(records) <= 0.4
    chosen, all_of_them = [], []
    for race in raced:
        odds = belonging(History(records[: race.number], OBJECTIVES), 0)
        chosen.append(odds[race.origin.parents[0]])
        all_of_them.append(np.mean(list(odds.values())))
    assert np.mean(chosen) > 2 * np.mean(all_of_them)


def test_what_stands_on_the_front_by_one_training_is_trained_again_first():
    records = search(Proposals(SPACE, create("sampler", "random"), 5, racing=0.4), 100)
    for race in (record for record in records if record.origin.operator == "race"):
        before = History(records[: race.number], OBJECTIVES)
        single = {member.number for member in before.front() if len(member.records) == 1}
        assert not single or race.origin.parents[0] in single


def test_noise_is_the_pooled_deviation_between_trainings():
    records = search(Proposals(SPACE, create("sampler", "random"), 6, seeds=5), 150)
    accuracy, parameters = noise(History(records, OBJECTIVES))
    groups = np.array([record.values["accuracy"] for record in records]).reshape(30, 5)
    assert accuracy == pytest.approx(np.sqrt(groups.var(1, ddof=1).mean()))
    assert parameters == 0


def test_the_odds_to_be_on_the_front_are_those_of_two_normal_variables():
    # Two candidates of one size, .02 apart, each known to a standard error of .01: P(Z > .02 / (.01 √2)).
    architectures = list(SPACE.points())[:2]
    rows = [(0, 0.52 + 0.01), (0, 0.52 - 0.01), (1, 0.50 + 0.01), (1, 0.50 - 0.01)]
    records = [
        Record(n, n, architectures[which], COMPLETE, n, told=n, values={"accuracy": value, "parameters": 9.0})
        for n, (which, value) in enumerate(rows)
    ]
    history = History(records, OBJECTIVES)
    assert noise(history)[0] == pytest.approx(0.01 * 2**0.5)
    odds = np.mean([belonging(history, seed)[2] for seed in range(40)])
    assert odds == pytest.approx(0.0786, abs=0.015)


WIRED = assemble(
    {
        "present": "all",
        "dim": 8,
        "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
        "connector": {
            "small_world": {
                "layers": 1,
                "topology": {
                    "choice": {
                        "ring": {"k": {"choice": [2, 4]}},
                        "watts_strogatz": {"k": {"choice": [2, 4]}, "beta": {"choice": [0.0, 0.5]}},
                    }
                },
                "rewiring": "none",
                "dropout": 0.0,
            }
        },
        "fusion": "late",
        "head": "linear",
    },
    MODALITIES,
)


def test_settings_that_make_the_same_wiring_are_one_network():
    ids = {
        (name, settings["k"], settings.get("beta")): identity(point, MODALITIES, TASK)
        for point in WIRED.points()
        for name, settings in point["connector"]["small_world"]["topology"].items()
    }
    assert ids["ring", 2, None] == ids["watts_strogatz", 2, 0]
    assert ids["ring", 4, None] == ids["watts_strogatz", 4, 0]
    assert len(ids) == 6
    assert len(set(ids.values())) == 4
    assert len({outline(point) for point in WIRED.points()}) == 1


def test_ids_are_asked_for_only_of_networks_that_are_alike_in_all_but_their_wiring():
    asked = []

    def identify(architecture):
        asked.append(architecture)
        return architecture.id

    space = SearchSpace(Group({"rate": Float(0, 1), "topology": Choice("ring", "random")}))
    proposals = Proposals(space, create("sampler", "random"), 0, identify, outline=outline)
    records = []
    for _ in range(5):
        architecture = proposals.next(History(records, OBJECTIVES)).architecture
        records.append(Record(len(records), 0, architecture, RUNNING, 0))
    assert not asked


@pytest.mark.parametrize("outlined", [None, outline], ids=["by id", "by outline first"])
def test_the_same_wiring_is_not_trained_twice(outlined):
    identify = lambda architecture: identity(architecture, MODALITIES, TASK)  # noqa: E731
    proposals = Proposals(WIRED, create("sampler", "random"), 0, identify, outline=outlined)
    records = []
    while len(records) < 6 and (proposal := proposals.next(History(records, OBJECTIVES))) is not None:
        records.append(Record(len(records), 0, proposal.architecture, RUNNING, 0, proposal.origin))
    assert len(records) == 4


FUSIBLE = SearchSpace(
    Group(
        {
            "dim": Choice(8, 16, 32, 64),
            "rate": Float(1e-3, 1e-1, log=True, fusible=True),
            "dropout": Choice(0.0, 0.25, 0.5, fusible=True),
        }
    )
)


def shapes(records):
    return [shape_class(FUSIBLE, record.architecture) for record in records]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_siblings_fill_a_group_and_differ_from_its_first_in_fusible_values_alone(sampler):
    records = searched(Proposals(FUSIBLE, create("sampler", sampler), 1, groups=Groups(4, True)), 24)
    assert len({record.architecture for record in records}) == 24
    for start in range(0, 24, 4):
        first, *siblings = records[start : start + 4]
        assert first.origin.operator != "sibling"
        assert all(one.origin.operator == "sibling" for one in siblings)
        assert all(one.origin.parents == (first.number,) for one in siblings)
        assert len(set(shapes([first, *siblings]))) == 1


def searched(proposals, trials):
    """Ask and tell as `search` does, on the space of fusible values."""
    records = []
    for number in range(trials):
        proposal = proposals.next(History(tuple(records), OBJECTIVES))
        dim, rate = proposal.architecture["dim"], proposal.architecture["rate"]
        values = {"accuracy": dim / 64 - abs(rate - 0.01), "parameters": float(dim)}
        records.append(
            Record(
                number,
                derive(0, number),
                proposal.architecture,
                COMPLETE,
                number,
                proposal.origin,
                told=number,
                values=values,
                metrics=({"accuracy": values["accuracy"]},),
            )
        )
    return records


def test_replicates_come_first_and_siblings_while_all_of_their_trainings_fit():
    records = searched(
        Proposals(FUSIBLE, create("sampler", "random"), 2, seeds=3, groups=Groups(7, True)), 12
    )
    operators = [record.origin.operator for record in records]
    assert operators == ["sampled", *["replicate"] * 2, "sibling", *["replicate"] * 2] * 2
    assert records[3].origin.parents == (0,)
    assert records[4].architecture == records[3].architecture


def test_without_populations_nothing_is_a_sibling_and_the_search_is_what_it_was():
    plain = searched(Proposals(FUSIBLE, create("sampler", "evolution"), 3, racing=0.2), 40)
    grouped = searched(
        Proposals(FUSIBLE, create("sampler", "evolution"), 3, racing=0.2, groups=Groups(8, False)), 40
    )
    assert [record.architecture for record in grouped] == [record.architecture for record in plain]
    assert all(record.origin.operator != "sibling" for record in plain)


def test_what_does_not_suit_a_population_has_no_siblings():
    groups = Groups(4, True, lambda architecture: architecture["dim"] > 16)
    records = searched(Proposals(FUSIBLE, create("sampler", "random"), 4, groups=groups), 40)
    parents = {records[one.origin.parents[0]].architecture["dim"] for one in records if one.origin.parents}
    assert parents == {32, 64}


def test_races_that_fail_again_and_again_do_not_use_up_those_of_other_networks():
    proposals = Proposals(SPACE, create("sampler", "random"), 6, racing=0.5)
    first, *others = search(proposals, 16)
    records = [replace(first, values={"accuracy": 0.0, "parameters": 1.0}), *others]
    raced = []
    while len(raced) < 20:
        number = len(records)
        proposal = proposals.next(History(tuple(records), OBJECTIVES))
        record = Record(number, number, proposal.architecture, COMPLETE, number, proposal.origin, told=number)
        if proposal.origin.operator == "race":
            raced.append(proposal.architecture)
        if proposal.architecture == first.architecture:
            record = replace(record, state=FAILED, failure=("nan", ""))
        else:
            record = replace(record, values=measured(record.architecture, number))
        records.append(record)
    assert 1 <= raced.count(first.architecture) <= 5


def test_races_come_in_bursts_where_groups_fill():
    records = searched(
        Proposals(FUSIBLE, create("sampler", "random"), 5, racing=0.4, groups=Groups(4, True)), 90
    )
    raced = [record for record in records if record.origin.operator == "race"]
    assert 0.25 < len(raced) / len(records) <= 0.4
    for start in range(0, len(raced) // 4 * 4, 4):
        burst = raced[start : start + 4]
        assert len({record.architecture for record in burst}) == 1
        assert burst[-1].number - burst[0].number == 3


def test_what_the_next_proposal_joins_is_known_before_it_is_made():
    proposals = Proposals(FUSIBLE, create("sampler", "random"), 6, seeds=2, groups=Groups(4, True))
    records = searched(proposals, 16)
    joins = [proposals.joins(History(records[:number], OBJECTIVES)) for number in range(16)]
    assert joins == [False, True, True, True] * 4
