"""Folds: every sample validates once, groups stay together, and what the split does can be told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.datasets import Batch, TensorSplit, load_dataset
from nas.datasets.folds import Joined, divide, folds
from nas.errors import RequestError
from nas.evaluation import Evaluator
from nas.experiment import Training, Validation
from nas.registry import create, load_plugins
from nas.results.records import COMPLETE, History, Record
from nas.results.remarks import remarks
from nas.results.spread import spreads
from nas.search.proposals import Proposals
from nas.search.setup import prepare
from nas.space import Architecture, Choice, SearchSpace
from nas.space.search_space import Group
from nas.training import predict

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


def everything(split) -> Batch:
    return split.batch(torch.arange(len(split)))


def rows(split) -> list[bytes]:
    return [row.numpy().tobytes() for row in everything(split).inputs["image"]]


def test_every_sample_validates_in_one_fold_and_trains_in_the_others(dataset):
    parts = folds(dataset, 4)
    whole = rows(dataset.splits["train"]) + rows(dataset.splits["validation"])
    assert sorted(row for part in parts for row in rows(part["validation"])) == sorted(whole)
    for part in parts:
        assert sorted(rows(part["train"]) + rows(part["validation"])) == sorted(whole)


def test_no_sample_of_the_test_split_is_in_a_fold(dataset):
    test = set(rows(dataset.splits["test"]))
    assert not test & {row for part in folds(dataset, 3) for split in part.values() for row in rows(split)}


def test_one_fold_is_the_split_of_the_dataset(dataset):
    [only] = folds(dataset, 1)
    assert only == {name: dataset.splits[name] for name in ("train", "validation")}


SAMPLES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), min_size=40, max_size=80)


@settings(max_examples=30)
@given(SAMPLES, st.integers(2, 5))
def test_no_group_is_in_two_folds(samples, count):
    units, strata = zip(*samples, strict=True)
    member = divide(units, np.array(strata), count)
    assert all(len({m for m, u in zip(member, units, strict=True) if u == unit}) == 1 for unit in set(units))


def test_classes_have_like_shares_in_all_folds():
    strata = np.array([0] * 100 + [1] * 50 + [2] * 10)
    member = divide(range(160), strata, 5)
    held = np.array([np.bincount(strata[member == fold], minlength=3) for fold in range(5)])
    assert (held == [20, 10, 2]).all()


def test_two_splits_joined_give_what_each_gives_in_any_order(dataset):
    one, other = dataset.splits["train"], dataset.splits["validation"]
    absent = replace(other, present=torch.zeros(len(other), 2, dtype=torch.bool))
    both = Joined(one, absent)
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0))
    batch = both.batch(order)
    for name, values in batch.inputs.items():
        assert torch.equal(values, torch.cat([one.inputs[name], other.inputs[name]])[order])
    assert torch.equal(batch.labels, both.labels[order])
    assert torch.equal(batch.masks["text"], torch.cat([one.masks["text"], other.masks["text"]])[order])
    assert torch.equal(batch.present[:, 0], order < len(one))


class Grouped:
    """Twenty samples of five persons."""

    def __init__(self):
        self.task = nas.Task("classification", ("a", "b"))
        self.modalities = {"image": nas.ModalitySpec("image", (1, 4, 4))}
        values = torch.arange(20.0)[:, None, None, None].expand(20, 1, 4, 4)
        whole = TensorSplit({"image": values}, torch.arange(20) % 2)
        halves = (TensorSplit(**vars(whole.batch(part))) for part in torch.arange(20).split(10))
        self.splits = dict(zip(("train", "validation"), halves, strict=True))

    def groups(self, column):
        if column != "person":
            raise RequestError(f"no column {column!r}")
        return {"train": list("aabbccddee"), "validation": list("eeddccbbaa")}


def test_a_person_who_is_in_both_splits_is_in_one_fold():
    for part in folds(Grouped(), 5, "person"):
        assert len(part["validation"]) == 4
        own = everything(part["validation"]).inputs["image"][:, 0, 0, 0]
        assert len({"aabbccddeeeeddccbbaa"[int(value)] for value in own}) == 1


@pytest.mark.parametrize(
    ("data", "validation", "reason"),
    [
        ("toy", {"folds": 3, "groups": "person"}, "offers no groups"),
        ("toy", {"folds": 1000}, "there are 48 groups"),
        ("toy", {"folds": 0}, "greater than or equal to 1"),
        ("toy", {"fold": 3}, "is not a key here"),
    ],
)
def test_folds_that_cannot_be_made_are_refused_by_name(write_experiment, data, validation, reason):
    with pytest.raises(RequestError, match=f"validation.*{reason}"):
        prepare(write_experiment(data=data, validation=validation), [])


def test_groups_without_folds_are_said_to_do_nothing(write_experiment):
    experiment = write_experiment(validation={"groups": "person"})
    assert any("validation.groups does nothing" in warning for warning in prepare(experiment, []).warnings)


def test_a_trial_is_measured_on_its_fold_and_on_no_other(dataset):
    training = Training(epochs=1, batch_size=16)
    evaluator = Evaluator(dataset, ["accuracy"], training, validation=Validation(folds=3))
    assert [len(fold["validation"]) for fold in evaluator.folds] == [16, 16, 16]
    tree = {"dim": 4, "encoders": {"image": {"cnn": {}}, "text": {"attention": {}}}, "connector": "none"}
    result = evaluator(Architecture(tree | {"fusion": "late", "head": "linear"}), 0, fold=2)
    outputs, labels = predict(result.network, evaluator.folds[2]["validation"])
    right = (outputs.argmax(1) == labels).float().mean().item()
    assert result.values["accuracy"] == pytest.approx(right)
    assert torch.equal(labels, everything(evaluator.folds[2]["validation"]).labels)


def test_first_trainings_share_a_fold_and_further_ones_take_the_others_in_turn():
    space = SearchSpace(Group({"dim": Choice(*range(200))}))
    proposals = Proposals(space, create("sampler", "random"), 0, folds=3)
    courses = []
    for architecture in space.points():
        records = []
        for number in range(5):
            fold = proposals.fold(architecture, records)
            records.append(Record(number, 0, architecture, COMPLETE, number, fold=fold))
        courses.append(tuple(record.fold for record in records))
    assert set(courses) == {(0, 1, 2, 0, 1), (0, 0, 2, 0, 1)}
    assert 0.15 < courses.count((0, 0, 2, 0, 1)) / 200 < 0.35


def experiment(architecture, split, seed, networks=3000):
    """Networks with two trainings on one fold and one on another, with known deviations."""
    rng, records = np.random.default_rng(0), []
    for dim in range(networks):
        mean = 0.5 + architecture * rng.normal()
        shift = split * rng.normal(size=2)
        for fold in (0, 0, 1):
            value = mean + shift[fold] + seed * rng.normal()
            values = {"accuracy": float(value), "parameters": float(dim)}
            number = len(records)
            known = Architecture({"dim": dim})
            records.append(Record(number, 0, known, COMPLETE, number, told=number, values=values, fold=fold))
    return History(records, OBJECTIVES)


def test_the_spread_is_taken_apart_into_architecture_split_and_seed():
    [found] = spreads(experiment(0.03, 0.02, 0.01))
    assert found.objective == "accuracy"
    assert found.seed == pytest.approx(0.01**2, rel=0.05)
    # Of three trainings two share a fold: two thirds of the split's variance are within a network.
    assert found.split == pytest.approx(0.02**2 * 2 / 3, rel=0.1)
    assert found.architecture == pytest.approx(0.03**2, rel=0.2)


def test_without_a_pair_on_one_fold_seed_and_split_are_told_together():
    history = experiment(0.03, 0.02, 0.01, networks=50)
    kept = [
        replace(r, number=n, told=n) for n, r in enumerate(r for r in history.records if r.number % 3 != 1)
    ]
    [found] = spreads(History(kept, OBJECTIVES))
    assert found.seed is None
    assert "seed and split" in str(found)


def test_the_report_says_in_words_where_the_spread_comes_from():
    told = " ".join(remarks(experiment(0.03, 0.02, 0.01, networks=50)))
    assert "of the variance between trainings, architecture" in told
    assert "seed" in told
    assert "split" in told
    one = experiment(0.03, 0.0, 0.01, networks=50)
    one = History([replace(record, fold=0) for record in one.records], OBJECTIVES)
    assert "what another would say is not known" in " ".join(remarks(one))
