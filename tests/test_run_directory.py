"""The run directory: the files of the contract, each with what it promises."""

import json
import os

import pytest
import yaml
from safetensors.torch import load_file
from searches import SEARCH, TRIALS, events, rows

import nas
from nas.errors import RequestError
from nas.evaluation import Evaluator
from nas.experiment import Experiment, Training, load_experiment
from nas.registry import load_plugins
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import read_history
from nas.search.executors import CHECKPOINT
from nas.search.setup import prepare
from nas.seeds import derive
from nas.space import Architecture
from nas.training import predict

COLUMNS = [
    "number",
    "state",
    "accuracy",
    "parameters",
    "sparsity",
    "flops",
    "architecture_id",
    "seconds",
]


@pytest.fixture
def run(finished_search):
    return RunDirectory(finished_search / "run")


@pytest.fixture
def dataset(run):
    [(name, options)] = run.experiment().data.items()
    load_plugins(run.experiment().plugins)
    return nas.load_dataset(name, **options)


def front(run):
    return json.loads((run.path / "pareto.json").read_text())


def test_a_run_directory_holds_the_files_of_the_contract_and_nothing_unexpected(run):
    contract = {"experiment.yaml", "study.db", "trials.csv", "pareto.csv", "pareto.json", "pareto.png"}
    contract |= {"report.html", "events.jsonl", "trials"}
    ours = {"data.json", "preprocessing.json", "environment.json", "workers.log", ".lock"}
    assert {path.name for path in run.path.iterdir()} == contract | ours


def test_every_trial_has_a_folder_with_its_architecture_and_the_metrics_of_its_epochs(run):
    for row in rows(run.path):
        folder = run.trial(int(row["number"]))
        architecture = Architecture.from_json((folder / "architecture.json").read_text())
        assert architecture.id == row["architecture_id"]
        epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        if row["state"] == "complete":
            assert [epoch["epoch"] for epoch in epochs] == [1, 2]
            assert epochs[-1]["accuracy"] == float(row["accuracy"])
            assert epochs[-1].keys() == {"epoch", "train_loss", "seconds", "accuracy", "wiring"}
        else:
            assert epochs == []


def test_trials_csv_has_the_columns_of_the_contract_and_values_of_complete_trials_only(run):
    listed = rows(run.path)
    assert list(listed[0]) == COLUMNS
    assert len(listed) == TRIALS
    for row in listed:
        measured = [row[name] != "" for name in ("accuracy", "parameters", "sparsity", "flops")]
        assert all(measured) if row["state"] == "complete" else not any(measured)


def test_pareto_csv_is_the_front_of_trials_csv(run):
    listed, members = rows(run.path), rows(run.path, "pareto.csv")
    complete = [row for row in listed if row["state"] == "complete"]
    losses = {row["number"]: (-float(row["accuracy"]), int(row["parameters"])) for row in complete}
    expected = {
        number
        for number, mine in losses.items()
        if not any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
            for other in losses.values()
        )
    }
    assert {row["number"] for row in members} == expected
    assert len(expected) > 1
    assert {row.pop("modalities") for row in members} == {"image text"}
    assert [listed[int(row["number"])] for row in members] == members


def test_pareto_json_holds_architectures_that_build_the_networks_measured(run, dataset):
    assert [member["number"] for member in front(run)] == [
        int(row["number"]) for row in rows(run.path, "pareto.csv")
    ]
    for member in front(run):
        assert member.keys() == {"number", "values", "architecture"}
        network = nas.build(member["architecture"], dataset.modalities, dataset.task)
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == member["values"]["parameters"]


def test_only_members_of_the_front_keep_their_weights(run):
    kept = {int(file.parent.name) for file in run.path.glob("trials/*/weights.safetensors")}
    assert kept == {member["number"] for member in front(run)}


def test_the_weights_of_the_front_give_the_accuracy_that_is_recorded(run, dataset):
    for member in front(run):
        network = nas.build(member["architecture"], dataset.modalities, dataset.task)
        network.load_state_dict(load_file(run.weights(member["number"])))
        outputs, labels = predict(network, dataset.splits["validation"])
        assert (outputs.argmax(1) == labels).double().mean().item() == member["values"]["accuracy"]


def test_a_trial_can_be_repeated_from_what_is_stored(run, dataset):
    experiment = run.experiment()
    record = read_history(run).front()[0].records[0]
    evaluator = Evaluator(dataset, list(experiment.objectives), experiment.training)
    assert evaluator(record.architecture, record.seed).values == record.values


def test_experiment_yaml_is_the_experiment_with_every_default_written_out(run):
    stored = yaml.safe_load(run.experiment_file.read_text())
    assert stored.keys() == Experiment.model_fields.keys()
    assert stored["training"].keys() == Training.model_fields.keys()
    assert stored["training"] == Training(**SEARCH["training"]).model_dump()
    assert stored["space"]["fusion"]["choice"]["moody"] == SEARCH["space"]["fusion"]["choice"]["moody"]


def test_experiment_yaml_is_an_experiment_of_its_own(run):
    loaded, _ = load_experiment(run.experiment_file)
    assert loaded.difference(run.experiment()) is None
    assert prepare(run.experiment_file, []).experiment == run.experiment()


def test_the_events_tell_every_trial_s_story_with_its_seed(run):
    for number in range(TRIALS):
        asked, *rest = [event for event in events(run.path) if event["trial"] == number]
        assert asked["event"] == "asked"
        assert asked["seed"] == derive(SEARCH["search"]["seed"], number, "trial")
        assert asked["asked_after"] == number  # with one worker, all earlier ones have ended
        assert [event["event"] in {"told", "failed", "rejected"} for event in rest] == [True]


# Without a search


def test_a_directory_that_holds_something_else_is_not_written_into(tmp_path, dataset):
    (tmp_path / "notes.txt").write_text("mine")
    experiment = Experiment(name="toy", data={"toy": {}})
    with pytest.raises(RequestError, match="is not empty and holds no run"):
        RunDirectory(tmp_path).create(experiment, dataset.modalities, dataset.task)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_start_that_was_killed_half_way_does_not_bar_the_next(tmp_path, dataset):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    for name in (".lock", "data.json", ".experiment.yaml.x1y2z3"):
        (run.path / name).write_text("half")
    experiment = Experiment(name="toy", data={"toy": {}})
    run.create(experiment, dataset.modalities, dataset.task, ["2 rows are left out"])
    assert run.exists
    assert run.data() == (dataset.modalities, dataset.task)
    assert run.notes() == ["2 rows are left out"]


def test_one_process_at_a_time_holds_a_run_directory(tmp_path):
    run = RunDirectory(tmp_path)
    with run.lock(), pytest.raises(RequestError, match="another process is working in"), run.lock():
        pass
    with run.lock():
        pass


def test_a_run_directory_in_which_nothing_came_about_is_removed_again(tmp_path):
    with RunDirectory(tmp_path / "a" / "b").lock():
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_in_whole_stays_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "some" / "file.txt"
    write_atomically(file, "old")

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == ["file.txt"]


def test_the_content_of_a_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    file, order = tmp_path / "file.txt", []

    def synced(handle):
        order.append(f"synced {os.fstat(handle).st_size}")

    def replaced(source, target):
        order.append("replaced")

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", replaced)
    write_atomically(file, "new")
    assert order == ["synced 3", "replaced"]


def test_what_a_kill_leaves_half_written_is_gone_when_the_run_goes_on(tmp_path):
    run = RunDirectory(tmp_path)
    run.append_event("asked", trial=0)
    run.trial(0).mkdir(parents=True)
    kept = {"events.jsonl", ".lock", CHECKPOINT}
    halves = ".trials.csv.x1y2z3.part", "trials/0/.weights.safetensors.x1y2z3.part"
    for name in (".lock", f"trials/0/{CHECKPOINT}", *halves):
        (tmp_path / name).write_text("half")
    run.mend_events()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == kept
