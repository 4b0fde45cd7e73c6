"""Frozen encoders: trained once, kept by content, and a network that is whole all the same."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from searches import InThisProcess

from nas.datasets import load_dataset
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.registry import load_plugins
from nas.results.remarks import remarks
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.driver import drive
from nas.search.replay import replay
from nas.search.setup import prepare
from nas.search.study import Study
from nas.space import Architecture
from nas.training import predict
from nas.training.features import FeatureStore

TRAINING = Training(epochs=2, batch_size=16, encoders="frozen")
TREE = {
    "dim": 8,
    "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
    "connector": {"none": {}},
    "fusion": {"late": {}},
    "head": {"linear": {}},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and how often encoders were trained."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nas"


@pytest.fixture
def trained(monkeypatch):
    """Names of the modalities whose encoders were trained, in the order in which they were."""
    names, make = [], FeatureStore._make

    def noted(self, modality, *arguments):
        names.append(modality)
        return make(self, modality, *arguments)

    monkeypatch.setattr(FeatureStore, "_make", noted)
    return names


@pytest.fixture
def dataset(toy):
    load_plugins([toy])
    return load_dataset("toy")


def evaluator(dataset, training=TRAINING):
    return Evaluator(dataset, ["accuracy"], training)


def test_an_encoder_is_trained_once_for_all_candidates_and_for_every_later_process(dataset, trained):
    first = evaluator(dataset)
    first(Architecture(TREE), 0)
    first(Architecture(TREE | {"fusion": {"concat": {}}}), 1)
    evaluator(dataset)(Architecture(TREE), 2)
    assert sorted(trained) == ["image", "text"]


@pytest.mark.parametrize("what", ["encoder", "dim", "training", "data"])
def test_another_encoder_width_training_or_content_is_trained_anew(dataset, trained, what):
    evaluator(dataset)(Architecture(TREE), 0)
    tree, training = dict(TREE), TRAINING
    if what == "encoder":
        tree["encoders"] = TREE["encoders"] | {"image": {"cnn": {"width": 4}}}
    elif what == "dim":
        tree["dim"] = 4
    elif what == "training":
        training = TRAINING.model_copy(update={"epochs": 3})
    else:
        dataset = load_dataset("toy", seed=1)
    evaluator(dataset, training)(Architecture(tree), 0)
    again = ["image"] if what == "encoder" else ["image", "text"]
    assert sorted(trained[2:]) == again


def test_the_trained_network_is_whole_and_is_worth_what_was_measured_on_features(dataset):
    result = evaluator(dataset)(Architecture(TREE), 0)
    outputs, labels = predict(result.network, dataset.splits["validation"])
    assert (outputs.argmax(1) == labels).float().mean().item() == pytest.approx(result.values["accuracy"])
    joint = evaluator(dataset, TRAINING.model_copy(update={"encoders": "joint"}))(Architecture(TREE), 0)
    assert result.values["parameters"] == joint.values["parameters"]
    assert list(result.network.state_dict()) == list(joint.network.state_dict())


def test_the_rest_is_trained_and_the_encoders_are_those_of_every_candidate(dataset):
    evaluate = evaluator(dataset)
    one, other = evaluate(Architecture(TREE), 0).network, evaluate(Architecture(TREE), 1).network
    for a, b in zip(one.encoders.parameters(), other.encoders.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    start = evaluate.build(Architecture(TREE), 0)
    pairs = zip(start.head.parameters(), one.head.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_a_file_that_is_not_whole_is_made_again(dataset, cache, trained):
    first = evaluator(dataset)(Architecture(TREE), 0)
    for file in cache.glob("*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    second = evaluator(dataset)(Architecture(TREE), 0)
    assert second.values["accuracy"] == first.values["accuracy"]
    assert len(trained) == 4


def make_features(toy: Path, log: str) -> None:
    load_plugins([toy])
    dataset, make = load_dataset("toy"), FeatureStore._make

    def noted(self, *arguments):
        with Path(log).open("a") as file:
            file.write(arguments[0] + "\n")
        return make(self, *arguments)

    FeatureStore._make = noted
    FeatureStore(dataset, dataset.splits, TRAINING, torch.device("cpu")).features("image", {"cnn": {}}, 8)


def test_of_two_processes_that_want_the_same_one_makes_it(toy, tmp_path, cache):
    context = multiprocessing.get_context("spawn")
    log = str(tmp_path / "made")
    processes = [context.Process(target=make_features, args=(toy, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert Path(log).read_text() == "image\n"


def test_a_search_ends_with_its_front_trained_on_as_whole_networks(write_experiment, tmp_path):
    file = write_experiment(
        search={"sampler": "random", "trials": 4}, training={"epochs": 2, "encoders": "frozen"}
    )
    setup, run = prepare(file, []), RunDirectory(tmp_path / "run")
    run.create(setup.experiment, setup.dataset.modalities, setup.dataset.task)
    study = Study(run, "toy", setup.proposals, setup.experiment.objectives)
    executor = InThisProcess(
        Evaluator(setup.dataset, list(setup.experiment.objectives), setup.experiment.training)
    )
    drive(study, executor, setup.pruner, run, 4, lambda report: None, lambda: False)
    study.close()
    history = read_history(run)
    tuned = [record for record in history.records if record.origin.operator == "tuned"]
    assert tuned
    assert sum(record.counts for record in history.records) == 4
    assert len(history.records) == 4 + len(tuned)
    for record in tuned:
        parent = history.records[record.origin.inherits]
        assert executor.jobs[record.number].ancestor == run.trial(parent.number)
        assert record.architecture["training"] == {"encoders": "joint"}
        rest = {key: value for key, value in record.architecture.items() if key != "training"}
        assert Architecture(rest) == parent.architecture
        assert run.metrics(record.number)[0]["inherited"] == 1
    assert setup.proposals.last(history) is None
    assert all(trial.proposed == trial.recorded for trial in replay(run, setup.proposals))
    assert any("trained on as whole networks" in remark for remark in remarks(history))
