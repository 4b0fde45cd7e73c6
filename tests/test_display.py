"""What is shown while a search runs: live on a terminal, in lines, as JSON, or not at all."""

import io
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from searches import SEARCH, TRIALS

from nas.errors import KeyPathError, TrialError
from nas.results.records import COMPLETE, FAILED, RUNNING, History, Record
from nas.search.__main__ import main
from nas.search.display import _course
from nas.search.display._course import Course
from nas.search.display._json import JsonDisplay
from nas.search.display._live import LiveDisplay
from nas.search.display._words import duration, front_table
from nas.search.executors import Completed, Failed, Progress
from nas.space import Architecture

PARTS = {
    "encoders": {"image": {"cnn": {}}},
    "connector": {"none": {}},
    "fusion": {"late": {}},
    "head": {"linear": {}},
}
OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}


class Study:
    """As much of a study as a display sees."""

    def __init__(self, *records):
        self.records = list(records)

    @property
    def history(self):
        return History(self.records, OBJECTIVES)


def trial(number, state=COMPLETE, accuracy=0.5, parameters=100, failure=None):
    values = {"accuracy": accuracy, "parameters": parameters} if state == COMPLETE else {}
    return Record(
        number,
        0,
        Architecture(PARTS | {"dim": number + 1}),
        state,
        0,
        values=values,
        failure=failure,
        seconds=1.0,
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(_course, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_the_time_left_follows_from_the_pace_of_this_session(clock):
    study = Study(trial(0), trial(1), trial(2, RUNNING))
    course = Course(study, 12)
    assert course.seconds_left is None
    clock.seconds = 30.0
    study.records[2] = trial(2)
    assert course.seconds_per_trial == 30
    assert course.seconds_left == 9 * 30


def test_running_trials_are_shown_with_their_epochs_until_they_end():
    study = Study(trial(0, RUNNING), trial(1, RUNNING))
    course = Course(study, 2)
    course.take(Progress(1, {"epoch": 3.0}))
    assert course.running == [(0, 0), (1, 3)]
    study.records[1] = trial(1)
    course.take(Completed(1, {}, 1.0))
    assert course.running == [(0, 0)]


def test_the_hypervolume_is_the_share_that_the_front_dominates():
    course = Course(Study(trial(0, accuracy=1.0, parameters=100), trial(1, accuracy=0.5, parameters=50)), 2)
    # In losses from 0 to 1 the two are (0, 1) and (1, 0); the corner is 1.1 in both.
    assert course.hypervolume == pytest.approx((2 * 1.1 * 0.1 - 0.1 * 0.1) / 1.1**2)
    assert Course(Study(trial(0, RUNNING)), 2).hypervolume is None


def test_a_terminal_shows_pace_states_hypervolume_front_and_the_last_failures(clock):
    records = [
        trial(0),
        *(trial(n, FAILED, failure=("error", f"reason {n}")) for n in range(1, 6)),
        trial(6, RUNNING),
    ]
    study = Study(*records[:1])
    course = Course(study, 20)
    study.records = records
    clock.seconds = 10.0
    display = LiveDisplay(course, Console())
    course.take(Progress(6, {"epoch": 2.0}))
    console = Console(file=io.StringIO(), width=140)
    console.print(display.render())
    shown = console.file.getvalue()
    assert "6/20" in shown
    assert "30 trials a minute, 28 s left" in shown
    assert "running 6 (epoch 2)" in shown
    assert "complete 1" in shown
    assert "failed 5" in shown
    assert "hypervolume" in shown
    assert "front of 1 complete trials" in shown
    assert [f"reason {n}" in shown for n in range(1, 6)] == [False, False, True, True, True]


def screened(shown, width):
    """What a screen of a width shows."""
    screen = Console(file=io.StringIO(), width=width)
    screen.print(shown)
    return screen.file.getvalue()


def test_on_a_narrow_terminal_no_figure_of_the_front_is_cut():
    names = ("worst_missing_accuracy", "mean_missing_accuracy", "balanced_accuracy", "weighted_f1")
    values = {name: 0.12345 + place for place, name in enumerate(names)} | {"parameters": 17_242_702}
    record = replace(trial(23), values=values)
    shown = screened(front_table(History([record], dict.fromkeys(values, "maximize"))), 80)
    assert all(f" {whole} │" in shown for whole in ("23", "0.1235", "1.123", "2.123", "3.123", "17,242,702"))


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_the_number_of_a_trial_and_its_objectives_stay_on_the_narrowest_terminal(width):
    records = [replace(trial(4), values={"accuracy": 0.5, "parameters": 10_794, "flops": 837_888})]
    shown = screened(front_table(History(records, {"accuracy": "maximize", "parameters": "minimize"})), width)
    lines = shown.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "┃ trial ┃" in shown
    assert "│     4 │" in shown
    assert " 10,794 │" in shown
    left_out = [name for name in ("flops", "fusion", "head") if name not in "".join(lines[:3])]
    assert [name in "".join(lines[6:]) for name in left_out] == [True] * len(left_out)
    assert {30: left_out == ["flops", "fusion", "head"], 200: not left_out}.get(width, True)


def test_json_says_of_every_trial_how_it_ended_and_at_the_end_where_the_files_are(capsys):
    study = Study(trial(0, RUNNING), trial(1, RUNNING))
    display = JsonDisplay(Course(study, 2))
    study.records[0] = trial(0)
    display.observe(Completed(0, {}, 1.0))
    display.observe(Failed(1, TrialError("lost_worker", "gone"), 1.0))
    study.records[1] = replace(trial(1, FAILED), failure=("nan", "not a number"))
    display.observe(Failed(1, TrialError("nan", "not a number"), 1.0))
    ended, retried, failed = map(json.loads, capsys.readouterr().out.splitlines())
    assert ended["event"] == "ended"
    assert ended["values"] == {"accuracy": 0.5, "parameters": 100}
    assert (ended["done"], ended["trials"]) == (1, 2)
    assert retried == {"event": "retried", "trial": 1, "failure": {"kind": "lost_worker", "message": "gone"}}
    assert failed["state"] == "failed"
    assert failed["failure"] == {"kind": "nan", "message": "not a number"}


@pytest.fixture
def finished(finished_search, tmp_path):
    """The arguments that resume a copy of a finished search."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return [str(finished_search / "toy.yaml"), "--run-dir", str(tmp_path / "run"), "--resume"]


def test_a_quiet_search_prints_nothing(finished, capsys):
    assert main([*finished, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_every_line_of_a_json_search_is_an_object(finished, capsys):
    assert main([*finished, "--json"]) == 0
    shown = capsys.readouterr()
    [line] = map(json.loads, shown.out.splitlines())
    assert line["event"] == "finished"
    assert line["trials"] == SEARCH["search"]["trials"]
    assert sum(line["states"].values()) == TRIALS
    assert line["front"]
    assert shown.err == ""


class Full:
    """An executor that never has room."""

    notice = "there is more to see elsewhere"
    room = 0

    def close(self):
        pass


@pytest.mark.parametrize(("options", "told"), [([], True), (["--quiet"], False), (["--json"], False)])
def test_a_person_is_told_what_an_executor_has_to_say_and_a_program_is_not(
    finished, monkeypatch, capsys, options, told
):
    monkeypatch.setattr("nas.search.executors.open_executor", lambda *_: Full())
    assert main([*finished, "--set", "search.trials=99", *options]) == 0
    assert (Full.notice in capsys.readouterr().out) == told


def test_what_an_executor_refuses_is_refused_with_the_file_in_which_it_stands(finished, monkeypatch, capsys):
    def refuse(*_):
        raise KeyPathError(("execution", "devices", "0"), "'7' is no GPU of this machine")

    monkeypatch.setattr("nas.search.executors.open_executor", refuse)
    assert main([*finished, "--set", "search.trials=99"]) == 2
    assert re.search(r"/toy\.yaml:\d+: execution\.devices\.0: '7' is no GPU", capsys.readouterr().err)


@pytest.mark.parametrize(("seconds", "shown"), [(3.2, "3 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_in_the_unit_a_person_thinks_in(seconds, shown):
    assert duration(seconds) == shown
