"""`python -m nas.search` as a process: what it shows, how it is interrupted and killed, how it goes on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState
from searches import (
    DEADLINE_SECONDS,
    ENVIRONMENT,
    SEARCH,
    TRIALS,
    alive,
    events,
    held_search,
    results,
    rows,
    search,
    wait_until,
    workers,
    write_search,
)

from nas.search.__main__ import main
from nas.search.executors import CHECKPOINT


def states(run):
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{run / 'study.db'}")
    return [trial.state for trial in study.trials]


def results_told(run):
    return {event["trial"]: event["values"] for event in events(run) if event["event"] == "told"}


@pytest.fixture
def copied(finished_search, tmp_path):
    """A copy of the finished run, to be changed; and its experiment."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return finished_search / "toy.yaml", tmp_path / "run"


# The uninterrupted search


def test_a_search_runs_all_its_trials_whatever_some_of_them_do(finished_search):
    listed = rows(finished_search / "run")
    assert [row["number"] for row in listed] == [str(number) for number in range(TRIALS)]
    assert {row["state"] for row in listed} == {"complete", "failed", "rejected"}
    kinds = {event.get("kind") for event in events(finished_search / "run")}
    assert kinds == {None, "error", "nan", "constraint"}


def test_a_search_shows_a_line_per_trial_then_the_front_and_where_to_look(finished_search):
    shown = (finished_search / "stdout").read_text()
    budget = SEARCH["search"]["trials"]
    for number in range(1, budget + 1):
        assert f"[{number}/{budget}]" in shown
    assert "front of" in shown
    for name in ("pareto.png", "pareto.csv", "report.html"):
        assert str(finished_search / "run" / name) in shown
    assert f"python -m nas.dashboard {finished_search / 'run'}" in shown
    assert (finished_search / "stderr").read_text() == ""


def test_what_a_component_prints_does_not_disturb_the_display(finished_search):
    assert "mood for a chat" in (finished_search / "run" / "workers.log").read_text()
    assert "mood for a chat" not in (finished_search / "stdout").read_text()


def test_the_trial_that_raised_is_shown_with_its_reason_and_keeps_its_traceback(finished_search):
    shown = (finished_search / "stdout").read_text()
    [*_, failed] = [event for event in events(finished_search / "run") if event.get("kind") == "error"]
    file = finished_search / "run" / "trials" / str(failed["trial"]) / "error.txt"
    assert failed["message"] == f"ValueError: <b>out of my way</b> & away (traceback in {file})"
    assert failed["message"] in shown
    assert "Traceback" in file.read_text()


@pytest.mark.parametrize(
    ("fusion", "bound", "why"),
    [
        (
            "{moody: {mood: blank}}",
            3000,
            r": \d failed(, \d rejected)?; the last, trial \d, failed \(nan\): ",
        ),
        ("concat", 3, r": \d+ rejected; the last, trial \d+, rejected \(constraint\): parameters = "),
    ],
)
def test_a_search_without_a_complete_trial_says_so_and_ends_with_2(tmp_path, fusion, bound, why):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    changes = [f"space.fusion={fusion}", f"constraints.parameters=<= {bound}"]
    done = search(experiment, run, "--trials", "2", *[word for text in changes for word in ("--set", text)])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: no trial is complete: ")
    assert re.search(why, line)
    assert f"{run / 'report.html'} says more" in line
    assert (run / "report.html").exists()
    assert rows(run)


# Resuming what is finished


def test_resuming_a_finished_search_shows_the_front_and_changes_nothing(copied, capsys):
    experiment, run = copied
    before = (run / "events.jsonl").read_bytes()
    assert main([str(experiment), "--run-dir", str(run), "--resume"]) == 0
    assert "front of" in capsys.readouterr().out
    assert (run / "events.jsonl").read_bytes() == before
    assert len(rows(run)) == TRIALS


def test_resuming_with_more_trials_adds_them(copied):
    experiment, run = copied
    before = results(run)
    done = search(experiment, run, "--resume", "--trials", str(SEARCH["search"]["trials"] + 2))
    assert done.returncode == 0, done.stderr
    assert results(run)[:TRIALS] == before
    assert sum(row["state"] != "rejected" for row in rows(run)) == SEARCH["search"]["trials"] + 2


def test_a_search_goes_on_in_a_space_that_has_grown(copied):
    experiment, run = copied
    before = results(run)
    moods = "{choice: [good, talkative, angry, blank, leaving]}"
    grown = [
        f"space.fusion.choice.moody.mood={moods}",
        "space.fusion.choice.late={}",
        "space.dim.choice=[4, 8, 12, 16]",
    ]
    options = [word for text in grown for word in ("--set", text)]
    done = search(experiment, run, "--resume", "--trials", "20", *options)
    assert done.returncode == 0, done.stderr
    assert f"the space has changed; {TRIALS} of {TRIALS} trials lie in it" in done.stderr
    assert results(run)[:TRIALS] == before
    added = [
        json.loads((run / "trials" / row["number"] / "architecture.json").read_text())
        for row in rows(run)[TRIALS:]
    ]
    assert any("late" in tree["fusion"] or tree["dim"] == 12 for tree in added)
    stored = optuna.load_study(study_name="toy", storage=f"sqlite:///{run / 'study.db'}").trials
    assert "fusion" in stored[0].params
    assert "fusion (2)" in stored[-1].params
    again = search(experiment, run, "--resume", "--trials", "21", *options)
    assert again.returncode == 0, again.stderr
    assert "the space has changed" not in again.stderr


def test_a_space_in_which_no_trial_lies_is_another_search(copied, capsys):
    experiment, run = copied
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    assert main([str(experiment), "--run-dir", str(run), "--resume", "--set", "space.dim=5"]) == 2
    error = capsys.readouterr().err
    assert f"the space has changed so that none of the {TRIALS} trials in {run} lies in it" in error
    assert "(trial 0: dim: 8 is not the pinned value 5)" in error
    assert all(file.read_bytes() == content for file, content in before.items())


def test_resuming_where_there_is_nothing_is_refused_and_leaves_nothing(tmp_path, capsys):
    assert main([str(write_search(tmp_path)), "--run-dir", str(tmp_path / "none"), "--resume"]) == 2
    assert "there is nothing to resume" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# Interrupted and killed


def test_an_interrupted_search_says_how_to_go_on_and_ends_as_if_it_had_not_been(finished_search, tmp_path):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    with held_search(experiment, run) as process:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C on a terminal: to the workers, too
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert states(run)[-1] == TrialState.WAITING
    assert TrialState.RUNNING not in states(run)
    assert len(rows(run)) < TRIALS
    command = shlex.split(err.rpartition("Go on with")[2])
    assert command[:3] == ["python", "-m", "nas.search"]
    again = subprocess.run(
        [sys.executable, *command[1:]], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert results(run) == results(finished_search / "run")


def test_a_killed_driver_loses_nothing_that_had_ended_and_takes_its_workers_with_it(
    finished_search, tmp_path, capsys
):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    kept = "--set", "execution.checkpoint_every=1"
    with held_search(experiment, run, *kept) as process:
        assert main([str(experiment), "--run-dir", str(run), "--resume"]) == 2
        assert "another process is working in" in capsys.readouterr().err
        pids = workers(process.pid)
        assert len(pids) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
        wait_until(lambda: not any(alive(pid) for pid in pids), "the workers have died")
    assert states(run)[-1] == TrialState.RUNNING
    told = results_told(run)
    assert len(told) >= 2
    [state] = run.rglob(CHECKPOINT)
    [epoch] = (state.parent / "metrics.jsonl").read_text().splitlines()
    again = search(experiment, run, "--resume", *kept)
    assert again.returncode == 0, again.stderr
    assert (state.parent / "metrics.jsonl").read_text().startswith(epoch)  # the time too: not trained again
    assert results(run) == results(finished_search / "run")
    assert {number: results_told(run)[number] for number in told} == told
    assert len(states(run)) == TRIALS
    assert all(state.is_finished() for state in states(run))


def test_a_killed_worker_is_replaced_and_its_trial_runs_again(finished_search, tmp_path):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    with held_search(experiment, run) as process:
        [worker] = workers(process.pid)
        held = len(states(run)) - 1
        os.kill(worker, signal.SIGKILL)
        (tmp_path / "gate").unlink()
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    [lost] = [event for event in events(run) if event.get("kind") == "lost_worker"]
    assert (lost["event"], lost["trial"], lost["attempt"]) == ("retried", held, 2)
    assert lost["message"].startswith("the worker process died: it was killed by SIGKILL")
    assert f"trial {held} is tried again after lost_worker: {lost['message']}" in out
    assert results(run) == results(finished_search / "run")
