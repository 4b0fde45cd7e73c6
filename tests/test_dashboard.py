"""What a search tells the Optuna dashboard and loggers while it goes on: notes, artifacts, charts."""

import io
import json
import shutil

import optuna
import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from PIL import Image

from nas.errors import TrialError
from nas.results.artifacts import ARCHITECTURE, WIRING, RunArtifacts, identifier
from nas.results.notes import Notes, front_note, note
from nas.results.records import COMPLETE
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history, stored_study
from nas.search.executors import Completed, Failed, Progress
from nas.search.logbook import Logbook
from nas.search.setup import prepare
from nas.search.study import Study


@pytest.fixture
def run(finished_search, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def study(write_experiment, tmp_path):
    """A study that has asked for two trials."""
    setup = prepare(write_experiment(), [])
    experiment = setup.experiment
    run = RunDirectory(tmp_path / "run")
    run.create(experiment, setup.dataset.modalities, setup.dataset.task)
    study = Study(run, experiment.name, setup.proposals, experiment.objectives)
    study.ask(), study.ask()
    yield study
    study.close()


VALUES = {"accuracy": 0.5, "parameters": 100.0, "sparsity": 0.0, "flops": 10.0}


def test_every_trial_of_a_search_has_a_note_with_its_figures_and_its_architecture(run):
    history = read_history(run)
    with stored_study(run) as study:
        for record, trial in zip(history.records, study.get_trials(), strict=True):
            body = get_note(optuna.Trial(study, trial._trial_id))
            assert body.startswith(f"### Trial {record.number}: ")
            assert f"| dim | {record.architecture['dim']} |" in body
            if record.state == COMPLETE:
                assert f"| parameters | {record.values['parameters']:,.0f} |" in body
                picture = (
                    f"/artifacts/{study._study_id}/{trial._trial_id}/{identifier(record.number, WIRING)}"
                )
                assert f"]({picture})" in body
            else:
                assert record.failure[1].splitlines()[0] in body


def test_the_study_has_its_metric_names_the_front_and_the_charts(run):
    with stored_study(run) as study:
        assert study.metric_names == ["accuracy", "parameters"]
        assert get_note(study) == front_note(read_history(run))
        attributes = study._storage.get_study_system_attrs(study._study_id)
        charts = {name: json.loads(text) for name, text in get_plotly_graph_objects(attributes).items()}
    assert charts.keys() == {"front", "hypervolume", "curves", "wiring"}
    front = {
        n
        for trace in charts["front"]["data"]
        if trace["name"].startswith("front")
        for n in trace["customdata"]
    }
    assert front == {candidate.number for candidate in read_history(run).front()}


def test_a_note_is_there_as_soon_as_its_trial_has_ended(study, write_experiment):
    book = Logbook(study, [], prepare(write_experiment(), []).experiment)
    study.tell(0, VALUES, 1.0)
    book.observe(Completed(0, VALUES, 1.0))
    trial = optuna.Trial(study.stored, study.trial_id(0))
    assert "on the front" in get_note(trial)
    attributes = study._storage.get_study_system_attrs(study.stored._study_id)
    assert "front" in get_plotly_graph_objects(attributes)


def test_a_note_that_becomes_shorter_leaves_nothing_of_the_longer_one(study, monkeypatch):
    study.tell(0, VALUES, 1.0)
    for text in ("x" * 5000, "y" * 2100, "z"):
        monkeypatch.setattr("nas.results.notes.front_note", lambda history, text=text: text)
        Notes(study.stored, study.annotate, study.trial_id).draw(study.history)  # as every driver does anew
        assert get_note(study.stored) == text


def test_charts_that_took_long_are_not_drawn_again_at_once(study, monkeypatch):
    notes = Notes(study.stored, study.annotate, study.trial_id)
    now, drawn = [0.0], []

    def draw(history):
        drawn.append(now[0])
        now[0] += 3.0

    monkeypatch.setattr("nas.results.pace.time.monotonic", lambda: now[0])
    monkeypatch.setattr(notes, "draw", draw)
    for _ in range(100):
        notes._stale = True
        notes.refresh(study.history)
        now[0] += 1.0
    assert len(drawn) == 2
    assert drawn[1] - drawn[0] >= 20 * 3.0


def test_the_message_of_a_failure_stays_text_in_a_note(run):
    record = next(r for r in read_history(run).records if r.failure and "<b>" in r.failure[1])
    body = note(record, read_history(run), "")
    [line] = [line for line in body.splitlines() if "<b>" in line]
    assert line.startswith("    ValueError: <b>out of my way</b> & away")  # indented: a block of code


# artifacts


def test_the_artifacts_of_a_trial_are_known_from_the_moment_it_is_asked_for(study):
    trial = study.stored.get_trials()[1]
    found = [json.loads(value) for key, value in trial.system_attrs.items() if key.startswith("artifacts:")]
    assert {entry["filename"] for entry in found} == {"architecture.json", "wiring.png"}
    store = RunArtifacts(study.run)
    for entry in found:
        content = store.open_reader(entry["artifact_id"]).read()
        if entry["mimetype"] == "application/json":
            assert json.loads(content) == study.records[1].architecture.to_data()
        else:
            assert Image.open(io.BytesIO(content)).format == "PNG"


def test_the_picture_of_a_trained_wiring_is_drawn_once(run, monkeypatch):
    store = RunArtifacts(run)
    number = read_history(run).front()[0].number
    first = store.open_reader(identifier(number, WIRING)).read()
    assert (run.trial(number) / "wiring.png").read_bytes() == first
    monkeypatch.setattr("nas.results.wiring.wirings", None)
    assert store.open_reader(identifier(number, WIRING)).read() == first


@pytest.mark.parametrize(
    "name", [identifier(99, WIRING), identifier(99, ARCHITECTURE), "0000-c", "dead", "-a"]
)
def test_an_artifact_that_is_not_there_is_said_to_be_missing(run, name):
    with pytest.raises(ArtifactNotFound):
        RunArtifacts(run).open_reader(name)


def test_the_dashboard_can_neither_change_nor_remove_what_the_search_has_left(run):
    store = RunArtifacts(run)
    with pytest.raises(PermissionError):
        store.write("0-a", io.BytesIO(b""))
    with pytest.raises(PermissionError):
        store.remove("0-a")


# loggers


class Listener:
    """Remembers what it is told."""

    def __init__(self):
        self.heard = []

    def begin(self, run, experiment):
        self.heard.append(("begin", experiment.name))

    def epoch(self, record, metrics):
        self.heard.append(("epoch", record.number, metrics["epoch"]))

    def ended(self, record):
        self.heard.append(("ended", record.number, record.state))

    def close(self):
        self.heard.append(("close",))


class Broken(Listener):
    """Breaks when a trial ends."""

    def ended(self, record):
        raise ConnectionError("the server is away")


def test_a_logger_is_told_of_epochs_and_ends_and_one_that_fails_is_told_no_more(
    study, write_experiment, capsys
):
    experiment = prepare(write_experiment(), []).experiment
    listener, broken = Listener(), Broken()
    with Logbook(study, [broken, listener], experiment) as book:
        for number in (0, 1):
            study.progress(number, {"accuracy": 0.25})
            book.observe(Progress(number, {"epoch": 1, "accuracy": 0.25}))
        study.tell(0, VALUES, 1.0)
        book.observe(Completed(0, VALUES, 1.0))
        study.retry(1, TrialError("lost_worker", "gone"), 2)
        book.observe(Failed(1, TrialError("lost_worker", "gone"), 1.0))  # is tried again: no end
        study.fail(1, TrialError("error", "no"), 1.0)
        book.observe(Failed(1, TrialError("error", "no"), 1.0))
    assert listener.heard == [
        ("begin", "toy"),
        ("epoch", 0, 1),
        ("epoch", 1, 1),
        ("ended", 0, "complete"),
        ("ended", 1, "failed"),
        ("close",),
    ]
    assert broken.heard == [("begin", "toy"), ("epoch", 0, 1), ("epoch", 1, 1)]
    assert "Broken is told no more: the server is away" in capsys.readouterr().err
