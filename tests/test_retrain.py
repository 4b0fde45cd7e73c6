"""`python -m nas.retrain`: from scratch, several seeds, on the test split, beside baselines."""

import json
import multiprocessing
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from searches import SEARCH

import nas
from nas import retrain
from nas.datasets import JoinedSplit, TensorSplit
from nas.errors import TrialError
from nas.evaluation import Evaluator
from nas.registry import load_plugins
from nas.results import robustness, subjects
from nas.results.figures import figure, with_deviation
from nas.results.records import COMPLETE, History, Record
from nas.results.retrain import Trainer
from nas.results.retrained import Retrained, Training, agreement, read_all, spread
from nas.results.robustness import accuracy
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.results.subjects import Subject, trials
from nas.seeds import derive
from nas.space import Architecture


@pytest.fixture
def run(finished_search, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def number(run):
    """The first member of the front."""
    return read_history(run).front()[0].number


def stored(run, number):
    return json.loads((run.trial(number) / "retrained.json").read_text())


def dataset(run):
    experiment = run.experiment()
    load_plugins(experiment.plugins)
    return nas.load_dataset(*experiment.data)


def evaluated(run, data, architecture, seed):
    """The accuracy of one training on the validation split of some data."""
    return Evaluator(data, ["accuracy"], run.experiment().training)(architecture, seed).values["accuracy"]


def test_retraining_measures_each_seed_on_the_test_split_with_mean_and_deviation(run, number, capsys):
    arguments = [str(run.path), "--trial", str(number), "--seeds", "3", "--epochs", "4"]
    assert retrain.main(arguments) == 0
    kept = stored(run, number)
    assert kept["epochs"] == 4
    assert kept["seeds"] == [derive(SEARCH["search"]["seed"], number, "retrain", n) for n in range(3)]
    accuracies = [test["accuracy"] for test in kept["test"]]
    assert kept["summary"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert kept["summary"]["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-12)
    shown = capsys.readouterr().out
    assert "test split, 3 seeds, 4 epochs" in shown
    assert str(run.trial(number) / "retrained.json") in shown


def test_retraining_is_a_training_from_scratch_measured_on_the_test_split(run, number):
    assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "1"]) == 0
    kept, data = stored(run, number), dataset(run)
    data.splits["validation"] = data.splits["test"]
    architecture = read_history(run).records[number].architecture
    expected = evaluated(run, data, architecture, kept["seeds"][0])
    assert kept["test"][0]["accuracy"] == expected
    assert kept["summary"]["accuracy"] == {"mean": expected, "std": 0.0}
    assert kept["epochs"] == SEARCH["training"]["epochs"]


def test_the_epochs_asked_for_count_even_where_the_architecture_has_its_own(run, number, monkeypatch):
    own = read_history(run).records[number].architecture.to_data() | {"training": {"epochs": 1}}
    found = replace(read_history(run).records[number], architecture=Architecture(own))
    monkeypatch.setattr("nas.results.subjects._record", lambda run, history, number: found)
    for options, expected in ([["--epochs", "3"], 3], [[], 1]):
        assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "1", *options]) == 0
        kept = stored(run, number)
        assert kept["epochs"] == expected
        changed = Architecture(own | {"training": {"epochs": expected}})
        assert kept["validation"][0]["accuracy"] == evaluated(run, dataset(run), changed, kept["seeds"][0])


def test_what_a_network_costs_is_what_it_cost_before_the_training_as_in_the_search(run, number, monkeypatch):
    wiring = {
        "layers": 1,
        "topology": {"learnable_watts_strogatz": {"k": 4}},
    }  # its beta is no parameter later
    own = read_history(run).records[number].architecture.to_data() | {"connector": {"small_world": wiring}}
    found = replace(read_history(run).records[number], architecture=Architecture(own))
    monkeypatch.setattr("nas.results.subjects._record", lambda run, history, number: found)
    assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "1"]) == 0
    kept, modalities = stored(run, number), dataset(run).modalities
    untrained = nas.build(own, modalities, dataset(run).task)
    assert kept["test"][0]["parameters"] == sum(one.numel() for one in untrained.parameters())
    assert kept["test"][0]["sparsity"] == kept["validation"][0]["sparsity"]


def test_an_objective_that_is_no_number_on_the_test_split_is_the_reason_why_a_training_fails(run, number):
    experiment, data = run.experiment(), dataset(run)
    data.splits["test"] = TensorSplit(**vars(data.splits["test"].batch(torch.zeros(1, dtype=torch.long))))
    trainer = Trainer(experiment.model_copy(update={"objectives": {"auroc": "maximize"}}), dataset=data)
    with pytest.raises(TrialError, match=r"auroc is not a number on the split \(samples: 1\)"):
        trainer(read_history(run).records[number].architecture, 0)


def test_retraining_on_validation_too_trains_on_the_samples_of_both_splits(run, number):
    arguments = [str(run.path), "--trial", str(number), "--seeds", "1", "--on-validation"]
    assert retrain.main(arguments) == 0
    kept, data = stored(run, number), dataset(run)
    parts = [getattr(data.splits[name], "split", data.splits[name]) for name in ("train", "validation")]
    everything = torch.arange(48)
    data.splits["train"] = TensorSplit(
        {name: torch.cat([part.inputs[name] for part in parts]) for name in data.modalities},
        torch.cat([part.labels for part in parts]),
        {"text": torch.cat([part.masks["text"] for part in parts])},
    )
    assert len(data.splits["train"]) == len(everything)
    data.splits["validation"] = data.splits["test"]
    architecture = read_history(run).records[number].architecture
    assert kept["test"][0]["accuracy"] == evaluated(run, data, architecture, kept["seeds"][0])
    assert kept["validation"] == [None]


def test_joined_splits_give_the_samples_of_one_concatenated_split():
    rng = torch.Generator().manual_seed(0)

    def split(size, present):
        values = torch.randn(size, 3, generator=rng)
        there = torch.rand(size, 1, generator=rng) < 0.5 if present else None
        return TensorSplit({"a": values}, torch.arange(size), {"a": values > 0}, there)

    parts = [split(4, True), split(5, False), split(3, True)]
    joined = JoinedSplit(parts)
    assert len(joined) == 12
    indices = torch.tensor([11, 0, 4, 8, 3, 4, 9])
    batch = joined.batch(indices)
    whole = torch.cat([part.inputs["a"] for part in parts])
    present = torch.cat([parts[0].present, torch.ones(5, 1, dtype=torch.bool), parts[2].present])
    assert torch.equal(batch.inputs["a"], whole[indices])
    assert torch.equal(batch.masks["a"], whole[indices] > 0)
    assert torch.equal(batch.present, present[indices])
    assert torch.equal(batch.labels, torch.cat([part.labels for part in parts])[indices])


def test_what_has_been_retrained_is_not_trained_again(run, number, monkeypatch):
    arguments = [str(run.path), "--trial", str(number), "--seeds"]
    assert retrain.main([*arguments, "2"]) == 0
    first = stored(run, number)
    calls = []
    call = Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", lambda self, *rest: calls.append(rest) or call(self, *rest))
    assert retrain.main([*arguments, "3"]) == 0
    assert len(calls) == 1
    assert stored(run, number)["test"][:2] == first["test"]
    assert retrain.main([*arguments, "1"]) == 0
    assert len(calls) == 1
    assert len(stored(run, number)["test"]) == 3


def test_trainings_under_another_recipe_are_not_mixed(run, number):
    arguments = [str(run.path), "--trial", str(number), "--seeds"]
    assert retrain.main([*arguments, "2"]) == 0
    assert retrain.main([*arguments, "1", "--epochs", "1"]) == 0
    assert stored(run, number)["epochs"] == 1
    assert len(stored(run, number)["test"]) == 1
    assert [file.name for file in run.trial(number).glob("retrained-*")] == ["retrained-0.safetensors"]


def test_the_network_of_every_training_is_kept_and_gives_its_test_figures(run, number):
    arguments = [str(run.path), "--trial", str(number), "--seeds", "2"]
    assert retrain.main(arguments) == 0
    [subject], plugins = trials(run, [number]), run.experiment().plugins
    split = dataset(run).splits["test"]
    for index, test in enumerate(stored(run, number)["test"]):
        network = nas.load(subject.weights(run, index), plugins)
        outputs = network(split.inputs, split.masks, split.present)
        assert accuracy(outputs, split.labels) == test["accuracy"]
    first = load_file(subject.weights(run, 0))
    subject.weights(run, 0).unlink()
    assert retrain.main(arguments) == 0
    assert all(torch.equal(first[key], value) for key, value in load_file(subject.weights(run, 0)).items())
    assert len(stored(run, number)["test"]) == 2


def test_what_a_network_rests_on_says_why_it_is_not_known(run, number, monkeypatch, capsys):
    def failing(*arguments, **options):
        raise ValueError("this fusion <wants> all modalities")

    monkeypatch.setattr(robustness, "subset_scores", failing)
    assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "1"]) == 0
    reason = "ValueError: this fusion <wants> all modalities"
    assert json.loads((run.trial(number) / "understanding.json").read_text()) == {"failure": reason}
    assert f"what trial {number} rests on is not known: {reason}" in capsys.readouterr().err
    page = (run.path / "report.html").read_text()
    section = page.partition(f"What trial {number} rests on")[2].partition("</details>")[0]
    assert "ValueError: this fusion &lt;wants&gt; all modalities" in section


def test_an_interrupted_retraining_keeps_what_had_finished(run, number, monkeypatch):
    call, calls = Evaluator.__call__, []

    def interrupted(self, *rest):
        calls.append(rest)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return call(self, *rest)

    monkeypatch.setattr(Evaluator, "__call__", interrupted)
    assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "3"]) == 130
    assert len(stored(run, number)["test"]) == 1


def test_processes_give_what_one_process_gives(run, number):
    arguments = [str(run.path), "--trial", str(number), "--seeds", "2"]
    assert retrain.main(arguments) == 0
    alone = stored(run, number)
    (run.trial(number) / "retrained.json").unlink()
    assert retrain.main([*arguments, "--workers", "2"]) == 0
    together = stored(run, number)
    by_seed = dict(zip(together["seeds"], together["test"], strict=True))
    assert [by_seed[seed]["accuracy"] for seed in alone["seeds"]] == [t["accuracy"] for t in alone["test"]]
    assert multiprocessing.active_children() == []


def test_the_front_is_retrained_beside_late_fusion_another_run_and_a_fixed_network(run, tmp_path, capsys):
    shutil.copytree(run.path, tmp_path / "other")
    architecture = read_history(run).front()[-1].architecture.to_data()
    experiment = SEARCH | {
        "name": "fixed",
        "plugins": run.experiment().plugins,
        "space": architecture | {"dim": 4, "present": "all"},
        "training": SEARCH["training"] | {"learning_rate": 0.01},
    }
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump(experiment))
    paths = [str(tmp_path / "other"), str(tmp_path / "fixed.yaml")]
    arguments = [str(run.path), "--front", "--seeds", "1", "--epochs", "1", "--baselines", "--beside", *paths]
    assert retrain.main(arguments) == 0
    shown = capsys.readouterr().out
    members = [f"trial {member.number}" for member in read_history(run).front()]
    baselines = ["image alone", "text alone", "late fusion"]
    for label in [*members, *baselines, "best of other", "fixed"]:
        assert label in shown
    kept = {result.subject.label: result for result in read_all(run, read_history(run))}
    assert set(kept) == {*members, *baselines, "best of other", "fixed"}
    assert list(kept["image alone"].subject.architecture["encoders"]) == ["image"]
    assert kept["fixed"].subject.architecture["training"]["learning_rate"] == 0.01
    assert kept["fixed"].epochs == 1


def test_baselines_have_the_encoders_of_the_best_networks_that_use_them(run, monkeypatch):
    def candidate(number, accuracy, widths, **training):
        present = {name: name in widths for name in ("image", "text")}
        encoders = {name: {"mlp": {"width": width}} for name, width in widths.items()}
        tree = {"dim": 8, "present": present, "encoders": encoders, "training": training}
        values = {"accuracy": accuracy, "parameters": 10.0 + number}
        return Record(number, 0, Architecture(tree), COMPLETE, number, told=number, values=values)

    add_ons = {"learning_rate": 0.01, "auxiliary_loss": 0.3}
    records = [
        candidate(0, 0.6, {"image": 2, "text": 3}, **add_ons),
        candidate(1, 0.9, {"image": 4}, **add_ons),
        candidate(2, 0.7, {"text": 5}),
    ]
    history = History(records, {"accuracy": "maximize", "parameters": "minimize"})
    monkeypatch.setattr(subjects, "read_history", lambda run: history)
    image, text, late = subjects.baselines(run)
    assert [image.label, text.label, late.label] == ["image alone", "text alone", "late fusion"]
    widths = [
        {name: encoder["mlp"]["width"] for name, encoder in subject.architecture["encoders"].items()}
        for subject in (image, text, late)
    ]
    assert widths == [{"image": 4}, {"text": 5}, {"image": 4, "text": 5}]
    assert dict(image.architecture["training"]) == {"learning_rate": 0.01}
    assert dict(late.architecture["training"]) == add_ons


def test_the_first_training_says_what_the_network_rests_on_and_the_report_shows_it(run, number):
    assert retrain.main([str(run.path), "--trial", str(number), "--seeds", "2"]) == 0
    found = json.loads((run.trial(number) / "understanding.json").read_text())
    tested = stored(run, number)["test"][0]["accuracy"]
    subsets = {tuple(names): value for names, value in found["subsets"]}
    assert subsets["image", "text"] == tested
    assert sum(found["contributions"].values()) == pytest.approx(tested - subsets[()])
    assert [step for step, _ in found["missing"]["text"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["noise"]["image"][0] == [0.0, tested]
    assert found["missing"]["image"][-1] == [1.0, subsets["text",]]
    assert sum(map(sum, found["confusion"])) == 16
    page = (run.path / "report.html").read_text()
    section = page.partition(f"What trial {number} rests on")[2].partition("</details>")[0]
    for title in ("What each modality contributes", "Every subset", "A modality is noisy", "Confusion"):
        assert title in section
    for curves, across in (("missing", "share of the samples without it"), ("noisy", "noise")):
        assert f'alt="A modality is {curves}: accuracy, over {across}"' in section
    assert f"<td>{figure(tested)}</td>" in section


def test_agreement_is_spearman_s_rank_correlation_of_the_trials(run):
    def result(number, searched, tested):
        found = (("accuracy", searched),)
        training = Training(0, {"accuracy": tested}, None)
        return Retrained(Subject(f"trial {number}", Architecture({}), number, found), 1, True, (training,))

    searched, tested = [0.9, 0.8, 0.7, 0.6, 0.5], [0.7, 0.75, 0.6, 0.65, 0.5]
    results = [result(n, *pair) for n, pair in enumerate(zip(searched, tested, strict=True))]
    beside = Retrained(Subject("late fusion", Architecture({})), 1, True, results[0].trainings)
    squares = np.sum((np.argsort(np.argsort(searched)) - np.argsort(np.argsort(tested))) ** 2)
    found = agreement(run, [*results, beside])
    assert found.correlation == pytest.approx(1 - 6 * squares / (5 * 24))
    assert found.networks == 5
    assert agreement(run, results[:3]) is None


def test_retraining_a_trial_that_is_not_there_is_refused(run, capsys):
    last = max(record.number for record in read_history(run).records)
    assert retrain.main([str(run.path), "--trial", "99"]) == 2
    assert f"has no trial 99; its trials are 0 to {last}" in capsys.readouterr().err


def test_retraining_a_trial_that_fails_again_is_refused_with_the_reason(run, capsys):
    failed = next(r for r in read_history(run).records if r.failure and r.failure[0] == "error")
    assert retrain.main([str(run.path), "--trial", str(failed.number)]) == 2
    assert f"trial {failed.number} cannot be retrained: ValueError" in capsys.readouterr().err
    assert not (run.trial(failed.number) / "retrained.json").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objectives": {"accuracy": "maximize"}}, "its objectives are"),
        ({"data": {"held": {"seed": 3}}}, "its data are"),
        ({}, "space: has 30 points"),
    ],
)
def test_what_cannot_be_compared_is_refused(run, number, tmp_path, capsys, changes, reason):
    experiment = SEARCH | {"plugins": run.experiment().plugins} | changes
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(experiment))
    arguments = [str(run.path), "--trial", str(number), "--beside", str(tmp_path / "other.yaml")]
    assert retrain.main(arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "other.yaml" in error
    assert not (run.trial(number) / "retrained.json").exists()


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.75], [0.1, 0.2, 0.4, 0.8]])
def test_the_spread_is_numpy_s(values):
    mean, deviation = spread(values)
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1) if len(values) > 1 else 0)


@pytest.mark.parametrize(
    ("deviation", "text"), [(0, "0.9713"), (0.006123, "0.9713 ± 0.0061"), (1234, "0.9713 ± 1,234")]
)
def test_a_deviation_is_shown_to_two_digits_where_there_is_one(deviation, text):
    assert with_deviation(0.97134, deviation) == text
