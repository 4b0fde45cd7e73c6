"""The study: what is asked and told is stored at once, and comes back as it was."""

import json
import shutil

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from nas.errors import TrialError
from nas.experiment import Experiment
from nas.modality import ModalitySpec, Task
from nas.registry import create
from nas.results.records import COMPLETE, FAILED, REJECTED, RUNNING, WAITING
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.proposals import Proposals
from nas.search.study import Study
from nas.seeds import derive
from nas.space.assemble import assemble

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
MODALITIES = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
SPACE = assemble({"dim": {"int": [4, 64]}, "head": "linear", "connector": "none"}, MODALITIES)
VALUES = {"accuracy": 0.75, "parameters": 100.0, "sparsity": 0.5, "flops": 2000.0}
BAD_LUCK = TrialError("error", "ValueError: bad luck")
TOO_LARGE = TrialError("constraint", "parameters = 9 is not <= 8")


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    experiment = Experiment(name="mine", data={"toy": {}}, objectives=OBJECTIVES)
    run.create(experiment, MODALITIES, Task("classification", ("a", "b")))
    return run


@pytest.fixture
def reopen(run):
    """Open the study, each time as another process would after the last one had been killed."""
    opened = []

    def open_study(sampler="random", seed=3):
        study = Study(run, "mine", Proposals(SPACE, create("sampler", sampler), seed), OBJECTIVES)
        opened.append(study)
        return study

    yield open_study
    for study in opened:
        study.close()


def stored(run):
    """The study as Optuna and its dashboard see it."""
    return optuna.load_study(study_name="mine", storage=run.storage_url)


def events(run):
    return [json.loads(line) for line in run.events_file.read_text().splitlines()]


def one_of_each(study):
    for _ in range(5):
        study.ask()
    study.fail(2, TOO_LARGE, 0.25)
    study.tell(0, VALUES, 1.5)
    study.fail(1, BAD_LUCK, 0.5)
    study.release(3)


class Kill(BaseException):
    """Stands for a kill of the process at some place."""


def die(*args, **kwargs):
    raise Kill


def test_the_dashboard_sees_named_objectives_and_every_trial_with_its_state(run, reopen):
    one_of_each(reopen())
    study = stored(run)
    assert study.metric_names == ["accuracy", "parameters"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.WAITING, TrialState.RUNNING]
    assert [trial.state for trial in study.trials] == states
    assert study.trials[0].values == [0.75, 100.0]
    assert all(trial.values is None for trial in study.trials[1:])
    assert [trial.number for trial in study.best_trials] == [0]


def test_the_dashboard_sees_what_each_trial_was_and_cost(run, reopen):
    study = reopen()
    one_of_each(study)
    complete, failed, rejected = stored(run).trials[:3]
    architecture = study.records[0].architecture
    assert complete.user_attrs["architecture"] == architecture.to_data()
    assert complete.user_attrs["architecture_id"] == architecture.id
    assert complete.user_attrs["seconds"] == 1.5
    assert complete.user_attrs["sparsity"] == 0.5
    assert complete.params == {path: value for path, (_, value) in SPACE.decisions(architecture).items()}
    assert failed.user_attrs["failure"] == ["error", "ValueError: bad luck"]
    assert rejected.user_attrs["failure"] == ["constraint", "parameters = 9 is not <= 8"]


def test_a_study_that_is_opened_again_has_the_same_records(run, reopen):
    first = reopen()
    one_of_each(first)
    assert [record.state for record in first.records] == [COMPLETE, FAILED, REJECTED, WAITING, RUNNING]
    assert [record.told for record in first.records] == [1, 2, 0, None, None]
    assert first.records[0].values == VALUES
    second = reopen()
    assert second.records == first.records
    assert read_history(run).records == first.records
    assert [record.number for record in second.unfinished()] == [3, 4]


def test_seeds_follow_from_the_study_s_seed_and_the_trial_s_number(reopen):
    records = [reopen(seed=3).ask() for _ in range(2)]
    assert [record.seed for record in records] == [derive(3, 0, "trial"), derive(3, 1, "trial")]


def test_a_study_that_is_opened_again_asks_what_it_would_have_asked(run, reopen, tmp_path):
    def ask_and_tell(study, times):
        for _ in range(times):
            number = study.ask().number
            study.tell(number, VALUES | {"accuracy": number / 10}, 1.0)

    study = reopen("tpe")
    ask_and_tell(study, 14)
    whole = [record.architecture for record in study.records]
    other = RunDirectory(tmp_path / "other")
    other.create(run.experiment(), *run.data())
    for times in (4, 8, 2):
        part = Study(other, "mine", Proposals(SPACE, create("sampler", "tpe"), 3), OBJECTIVES)
        ask_and_tell(part, times)
        part.close()
    assert [record.architecture for record in part.records] == whole


def test_a_released_trial_runs_again_as_it_was(reopen):
    study = reopen()
    asked = study.ask()
    study.release(0)
    again = reopen()
    [left_over] = again.unfinished()
    restarted = again.restart(left_over)
    assert restarted == asked
    again.tell(0, VALUES, 1.0)
    assert [record.state for record in reopen().records] == [COMPLETE]


def test_a_trial_that_is_running_when_the_process_dies_is_unfinished_and_runs_again(reopen):
    asked = reopen().ask()
    again = reopen()
    assert again.unfinished() == [asked]
    again.restart(asked)
    again.tell(0, VALUES, 1.0)
    assert reopen().records == again.records


@pytest.mark.parametrize("end", ["tell", "fail"])
def test_a_result_that_is_half_written_when_the_process_dies_leaves_the_trial_running(reopen, end):
    study = reopen()
    asked = study.ask()
    event.listen(study._database.engine, "commit", die)
    with pytest.raises(Kill):
        study.tell(0, VALUES, 1.0) if end == "tell" else study.fail(0, BAD_LUCK, 1.0)
    again = reopen()
    assert again.records == [asked]
    again.restart(asked)
    again.tell(0, VALUES | {"accuracy": 0.5}, 2.0)
    [record] = reopen().records
    assert record == again.records[0]
    assert record.failure is None
    assert record.values["accuracy"] == 0.5


def test_a_proposal_that_is_not_stored_when_the_process_dies_is_made_again(run, reopen):
    study = reopen()
    study.ask()
    event.listen(study._database.engine, "commit", die)
    with pytest.raises(Kill):
        study.ask()
    written = json.loads((run.trial(1) / "architecture.json").read_text())
    again = reopen()
    assert len(again.records) == 1
    assert again.ask().architecture.to_data() == written


def test_every_decision_is_a_line_of_the_events_with_seed_and_time(run, reopen):
    one_of_each(reopen())
    reopen().restart(reopen().records[3])
    lines = events(run)
    asked, others = lines[:5], lines[5:]
    for number, line in enumerate(asked):
        assert line["event"] == "asked"
        assert line["trial"] == number
        assert line["seed"] == derive(3, number, "trial")
        assert line["proposal_seed"] == derive(3, number, "proposal")
        assert line["asked_after"] == 0
    assert [(line["event"], line["trial"]) for line in others] == [
        ("rejected", 2),
        ("told", 0),
        ("failed", 1),
        ("released", 3),
        ("restarted", 3),
    ]
    assert others[1]["values"] == VALUES
    assert others[2]["message"] == "ValueError: bad luck"
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert all(time.endswith("+00:00") for time in times)


def test_the_architecture_of_every_trial_is_a_file_from_the_moment_it_is_asked(run, reopen):
    record = reopen().ask()
    assert json.loads((run.trial(0) / "architecture.json").read_text()) == record.architecture.to_data()


def test_the_architectures_that_a_power_cut_took_are_written_when_the_study_is_opened_again(run, reopen):
    study = reopen()
    records = [study.ask() for _ in range(3)]
    files = [run.trial(number) / "architecture.json" for number in range(3)]
    files[0].write_text("")
    files[1].unlink()
    reopen()
    assert [json.loads(file.read_text()) for file in files] == [one.architecture.to_data() for one in records]


def test_events_that_a_kill_kept_back_are_written_when_the_study_is_opened_again(run, reopen):
    one_of_each(reopen())
    complete = [{key: value for key, value in line.items() if key != "time"} for line in events(run)]
    lost = [line for line in complete if line["event"] != "released"]
    run.events_file.write_text("")
    reopen()
    recovered = [{key: value for key, value in line.items() if key != "time"} for line in events(run)]
    assert all(line in recovered for line in lost)
    assert len(recovered) == len(lost)
    reopen()
    assert len(events(run)) == len(lost)


def test_an_event_that_is_half_written_is_cut_off_and_the_rest_stays(run):
    run.append_event("asked", trial=0)
    run.append_event("told", trial=0)
    whole = run.events_file.read_bytes()
    run.events_file.write_bytes(whole + b'{"time": "2026-')
    run.mend_events()
    assert run.events_file.read_bytes() == whole
    run.mend_events()
    assert run.events_file.read_bytes() == whole
    run.append_event("asked", trial=1)
    assert [line["trial"] for line in events(run)] == [0, 0, 1]


def test_an_event_that_a_full_disk_has_cut_off_costs_no_more_than_what_is_written_behind_it(run):
    run.append_event("asked", trial=0)
    run.events_file.write_bytes(run.events_file.read_bytes() + b'{"time": "2026-')
    run.append_event("released", trial=0)
    assert [line["event"] for line in run.events()] == ["asked"]
    run.mend_events()
    run.append_event("restarted", trial=0)
    assert [line["event"] for line in events(run)] == ["asked", "restarted"]


def test_what_was_told_is_in_the_file_that_a_power_cut_leaves_once_it_is_secured(run, reopen, tmp_path):
    study = reopen()
    study.secure()
    study.tell(study.ask().number, VALUES, 1.0)
    assert after_a_power_cut(run, tmp_path / "before.db") == []
    study.secure()
    [trial] = after_a_power_cut(run, tmp_path / "after.db")
    assert trial.values == [VALUES[name] for name in OBJECTIVES]


def after_a_power_cut(run, copy):
    """The trials in a copy of the database without its log, which no disk has waited for."""
    shutil.copy(run.database, copy)
    return optuna.load_study(study_name="mine", storage=f"sqlite:///{copy}").trials


def test_a_closed_study_is_one_file(run, reopen):
    study = reopen()
    study.ask()
    study.close()
    assert sorted(path.name for path in run.path.glob("study.db*")) == ["study.db"]


def test_what_a_run_holds_before_its_study_exists_is_an_empty_history(run):
    history = read_history(run)
    assert list(history.records) == []
    assert history.objectives == OBJECTIVES
