"""What `report.html` tells of a search: its charts, and the figures behind them."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import optuna
import pytest
from optuna._hypervolume import compute_hypervolume
from scipy.stats import mannwhitneyu

from nas.results.charts import (
    ancestry_chart,
    axes,
    curves_chart,
    front_chart,
    importance_chart,
    small_world_chart,
)
from nas.results.importance import LEAST, importances
from nas.results.lineage import ancestry
from nas.results.page import render
from nas.results.progress import CORNER, Scale, seconds, volumes
from nas.results.records import COMPLETE, FAILED, PRUNED, History, Origin, Record, spread_out
from nas.results.report import write_report
from nas.results.retrained import Retrained, Training
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.selections import parts, selections
from nas.results.standings import standings
from nas.results.stored import read_history
from nas.results.subjects import trials
from nas.space import Architecture

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}


def architecture(dim=8, fusion="late"):
    return Architecture(
        {
            "dim": dim,
            "encoders": {"image": {"cnn": {"width": 8}}},
            "connector": {"none": {}},
            "fusion": {fusion: {}},
            "head": {"linear": {}},
        }
    )


def complete(number, accuracy, parameters, *, dim=None, fusion="late", told=None, **more):
    values = {"accuracy": accuracy, "parameters": float(parameters), "sparsity": number / 100}
    return Record(
        number,
        0,
        architecture(number + 1 if dim is None else dim, fusion),
        COMPLETE,
        number,
        told=number if told is None else told,
        values=values,
        cheap={"parameters": float(parameters), "sparsity": number / 100},
        metrics=({"accuracy": accuracy / 2}, {"accuracy": accuracy}),
        seconds=1.0,
        **more,
    )


@pytest.fixture
def history():
    """Trials 0, 1 and 3 on the front, 2 beaten, 4 stopped early, 5 failed, 6 another training of 1."""
    stopped = Record(
        4,
        0,
        architecture(50),
        PRUNED,
        4,
        told=4,
        cheap={"parameters": 700.0, "sparsity": 0.3},
        metrics=({"accuracy": 0.25},),
        failure=("pruned", "after epoch 1"),
    )
    return History(
        [
            complete(0, 0.5, 100),
            complete(1, 0.7, 500, fusion="gate", origin=Origin("mutation", (0,))),
            complete(2, 0.6, 800, origin=Origin("crossover", (0, 1))),
            complete(3, 0.9, 2000, origin=Origin("mutation", (2,), inherits=2)),
            stopped,
            Record(5, 0, architecture(60), FAILED, 5, told=5, failure=("error", "no"), seconds=1.0),
            complete(6, 0.8, 500, dim=2, fusion="gate", origin=Origin("race", (1,))),
        ],
        OBJECTIVES,
    )


def trace(chart, name):
    [found] = [trace for trace in chart.data if (trace.name or "").startswith(name)]
    return found


# the front


def test_the_front_is_drawn_by_fusion_and_all_else_is_faded(history):
    chart = front_chart(history, "parameters")
    assert list(trace(chart, "front: late").customdata) == [0, 3]
    assert list(trace(chart, "front: gate").customdata) == [1]
    assert list(trace(chart, "beaten").customdata) == [2]
    stopped = trace(chart, "stopped early")
    assert (list(stopped.x), list(stopped.y), list(stopped.customdata)) == ([700], [0.25], [4])
    for name in ("beaten", "stopped early"):
        assert trace(chart, name).marker.opacity < 1


def test_a_network_that_was_trained_again_stands_at_its_mean_with_a_bar(history):
    gate = trace(front_chart(history, "parameters"), "front: gate")
    assert list(gate.y) == [0.75]
    assert list(gate.error_y.array) == pytest.approx([np.std([0.7, 0.8], ddof=1)])
    assert trace(front_chart(history, "parameters"), "front: late").error_y.array is None


def test_the_front_can_be_shown_against_whatever_was_measured(history):
    assert axes(history) == ["parameters", "sparsity"]
    for record in history.records[:4]:
        record.values["latency_ms"] = 1.0 + record.number
    measured = History(history.records[:4], OBJECTIVES)
    assert axes(measured) == ["parameters", "sparsity", "latency_ms"]
    assert list(trace(front_chart(measured, "latency_ms"), "beaten").x) == [3.0]


@pytest.mark.parametrize(("across", "sign"), [("parameters", 1), ("sparsity", -1)])
def test_the_line_goes_through_what_is_best_in_the_two_measures_that_are_shown(history, across, sign):
    line = trace(front_chart(history, across), "best of both")
    points = [(c.values[across], c.values["accuracy"]) for c in history.candidates]
    expected = [
        (x, y)
        for x, y in points
        if not any((sign * a <= sign * x and b >= y) and (a, b) != (x, y) for a, b in points)
    ]
    assert list(zip(line.x, line.y, strict=True)) == sorted(expected)


def test_one_objective_is_drawn_over_the_trials(history):
    one = History(history.records, {"accuracy": "maximize"})
    assert list(trace(front_chart(one, None), "beaten").x) == [0, 1, 2]


def test_a_long_front_is_shown_along_the_whole_of_it():
    front = History([complete(n, n / 100, 100 + n) for n in range(1, 41)], OBJECTIVES).front()
    shown = [candidate.number for candidate in spread_out(front, 5)]
    assert (len(shown), shown[0], shown[-1]) == (5, front[0].number, front[-1].number)
    assert spread_out(front, 50) == front


# progress


def test_the_hypervolume_at_the_end_is_that_of_the_front(history):
    scale = Scale.of([history])
    points = np.array(
        [
            [(0.9 - c.values["accuracy"]) / 0.4, np.log(c.values["parameters"] / 100) / np.log(20)]
            for c in history.front()
        ]
    )
    expected = compute_hypervolume(points, np.full(2, CORNER)) / CORNER**2
    assert volumes(history, scale)[6] == pytest.approx(expected)


def test_the_hypervolume_grows_with_every_network_that_no_other_beats_and_with_no_other():
    rng = np.random.default_rng(0)
    records = [complete(n, rng.random(), int(rng.integers(100, 900))) for n in range(40)]
    course = list(volumes(History(records, OBJECTIVES), Scale.of([History(records, OBJECTIVES)])).values())
    fronts = [
        {c.number for c in History(records[: count + 1], OBJECTIVES).front()} for count in range(len(records))
    ]
    for number in range(1, 40):
        grown = course[number] > course[number - 1] + 1e-12
        assert course[number] >= course[number - 1] - 1e-12
        assert grown <= (number in fronts[number])
    assert 0 < course[-1] < 1


def test_another_training_that_was_worse_takes_back_what_its_network_had_gained():
    records = [complete(0, 0.2, 900), complete(1, 0.9, 100, dim=9), complete(2, 0.5, 100, dim=9)]
    history = History(records, OBJECTIVES)
    course = volumes(history, Scale.of([history]))
    assert course[2] < course[1]


def test_the_time_of_a_search_leaves_out_pauses_between_sessions():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    log = [
        (0, "asked", 0),
        (10, "told", 0),
        (10, "asked", 1),
        (15, "released", 1),
        (1000, "restarted", 1),
        (1020, "pruned", 1),
        (1020, "stopped", None),
    ]
    events = [
        {"time": (start + timedelta(seconds=at)).isoformat(), "event": event}
        | ({} if trial is None else {"trial": trial})
        for at, event, trial in log
    ]
    assert seconds(events) == {0: 10, 1: 35}


# curves


def test_the_curves_of_the_front_are_in_colour_and_a_cross_is_where_a_trial_was_stopped(history):
    chart = curves_chart(history)
    named = {trace.name for trace in chart.data if trace.name.startswith("trial")}
    assert named == {"trial 0", "trial 1", "trial 3", "trial 6"}
    assert list(trace(chart, "trial 3").y) == [0.45, 0.9]
    stop = trace(chart, "where it was stopped")
    assert (list(stop.x), list(stop.y), list(stop.customdata)) == ([1], [0.25], [4])


def test_there_are_no_curves_where_nothing_was_logged(history):
    assert curves_chart(History(history.records, {"parameters": "minimize"})) is None


# what mattered


def planted_study(trials):
    """A study whose first objective follows one decision, which is made in half of the space."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for _ in range(trials):
        trial = study.ask()
        idle = trial.suggest_float("idle", 0, 1)
        kind = trial.suggest_categorical("kind", ["wired", "none"])
        strong = trial.suggest_float("kind.wired.beta", 0, 1) if kind == "wired" else 0.0
        study.tell(trial, [strong + 0.01 * idle, idle])
    return study


def test_the_decision_that_an_objective_follows_is_the_most_important_for_it():
    found = importances(planted_study(120), OBJECTIVES)
    assert max(found["accuracy"], key=found["accuracy"].get) == "kind.wired.beta"
    assert max(found["parameters"], key=found["parameters"].get) == "idle"
    assert sum(found["accuracy"].values()) == pytest.approx(1)
    chart = importance_chart(found)
    assert chart.data[0].customdata[-1] in {"kind.wired.beta", "idle"}


def test_of_few_trials_nothing_is_said_about_importance():
    assert importances(planted_study(LEAST - 1), OBJECTIVES) == {}


def test_a_component_wins_as_often_as_the_test_of_mann_and_whitney_counts():
    rng = np.random.default_rng(1)
    records = [
        complete(n, rng.random(), int(rng.integers(1, 9)), fusion="gate" if n % 3 else "late")
        for n in range(30)
    ]
    history = History(records, OBJECTIVES)
    found = {one.component: one for one in standings(history)}
    assert found.keys() == {"gate", "late"}  # nothing to choose in the other slots
    ranks = {}
    left = {c.number: history.losses(c.values) for c in history.candidates}
    while left:
        level = [
            n
            for n, p in left.items()
            if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in left.values())
        ]
        ranks |= dict.fromkeys(level, len(set(ranks.values())))
        left = {n: p for n, p in left.items() if n not in level}
    gate, late = ([ranks[n] for n in range(30) if bool(n % 3) == with_gate] for with_gate in (True, False))
    expected = 1 - mannwhitneyu(gate, late).statistic / len(gate) / len(late)
    assert found["gate"].wins == pytest.approx(expected)
    assert found["late"].wins == pytest.approx(1 - expected)
    assert found["gate"].front + found["late"].front == len(history.front())
    assert found["gate"].best == max(r.values["accuracy"] for r in records if r.number % 3)


def test_an_architecture_is_told_slot_by_slot():
    tree = architecture().to_data()
    tree["connector"] = {"small_world": {"layers": 2, "topology": {"watts_strogatz": {"k": 4, "beta": 0.25}}}}
    assert parts(tree) == {
        "dim": "8",
        "encoders image": "cnn (width 8)",
        "connector": "small_world (layers 2, topology watts_strogatz (k 4, beta 0.25))",
        "fusion": "late",
        "head": "linear",
    }
    assert ("connector.small_world.topology", "watts_strogatz") in set(selections(tree))


# ancestry and wiring


def test_the_ancestry_of_the_front_is_all_that_it_descends_from(history):
    assert ancestry(history) == {0: (), 1: (0,), 2: (0, 1), 3: (2,)}
    chart = ancestry_chart(history, ancestry(history))
    assert list(trace(chart, "front").customdata) == [0, 1, 3]
    assert list(trace(chart, "ancestors").customdata) == [2]
    assert [x for x in trace(chart, "inherits weights").x if x is not None] == [2, 3]


def test_the_wiring_of_a_network_stands_where_its_layers_were_measured(history):
    assert small_world_chart(history) is None
    start, end = ({"a": {"path_length": p, "clustering": 0.5}, "b": {"density": 0.1}} for p in (4.0, 2.0))
    wired = complete(0, 0.5, 100, wiring={"start": start, "end": end})
    chart = small_world_chart(History([wired], OBJECTIVES))
    assert [x for x in chart.data[0].x if x is not None] == [4, 2]  # the move
    [member] = [trace for trace in chart.data if trace.customdata]
    assert (list(member.x), list(member.y)) == ([2], [0.5])


@pytest.mark.parametrize(("accuracies", "shown"), [((0.9, 0.8), True), ((0.9,), False)])
def test_the_colours_of_the_wiring_end_at_the_values_that_are_there(accuracies, shown):
    wiring = {"end": {"a": {"path_length": 3.0, "clustering": 0.5}}}
    wired = [complete(number, value, 100, wiring=wiring) for number, value in enumerate(accuracies)]
    axis = small_world_chart(History(wired, OBJECTIVES)).layout.coloraxis
    assert (axis.cmin, axis.cmax, axis.showscale) == (min(accuracies), 0.9, shown)


# the page


@pytest.fixture
def run(finished_search, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def page_of(run):
    write_report(run)
    return (run.path / "report.html").read_text()


def embedded(page, name):
    [text] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_charts_of_a_page_are_all_that_its_places_name(run):
    page = page_of(run)
    charts = embedded(page, "charts")
    named = set(re.findall(r'data-chart="([^"]+)"', page)) | set(re.findall(r'<option value="([^"]+)"', page))
    assert named == charts.keys()
    assert {
        "front/parameters",
        "front/sparsity",
        "front/flops",
        "progress",
        "progress/time",
        "curves",
    } <= named


def test_a_click_finds_every_network_of_the_chart(run):
    page = page_of(run)
    front = {int(number) for number in re.findall(r'<section class="network" id="trial-(\d+)"', page)}
    others = {int(number) for number in embedded(page, "networks")}
    assert front == {candidate.number for candidate in read_history(run).front()}
    shown = {
        number
        for trace in embedded(page, "charts")["front/parameters"]["data"]
        for number in trace.get("customdata", ())
    }
    assert shown == front | others
    assert not front & others


def test_nothing_that_is_shown_can_break_out_of_its_place(history):
    evil = '</script><script>alert("out")</script><!-- <b>'
    broken = History([complete(0, 0.5, 100, fusion=evil)], OBJECTIVES)
    page = render("base.html.j2", {"front": front_chart(broken, "parameters")}, networks={0: {"title": evil}})
    assert "alert" in page
    assert "<script>alert" not in page
    assert embedded(page, "networks")["0"]["title"] == evil
    names = [trace.get("name", "") for trace in embedded(page, "charts")["front"]["data"]]
    assert any(evil in name for name in names)


def test_the_report_says_how_to_run_the_search_again_and_where_it_ran(run):
    page = page_of(run)
    assert f"python -m nas.search {run.experiment_file} --run-dir {run.path}-again" in page
    [session] = run.sessions()
    assert session["command"][:3] == ["python", "-m", "nas.search"]
    assert session["packages"]["torch"] in page
    assert "Seed of the search: <strong>18</strong>" in page


def test_what_was_found_out_after_the_search_is_in_the_report(run):
    number = read_history(run).front()[0].number
    assert "After the search" not in page_of(run)
    tests = [{"accuracy": value, "parameters": 99.0} for value in (0.5, 0.75)]
    trainings = [Training(seed, test, None) for seed, test in enumerate(tests)]
    [subject] = trials(run, [number])
    write_atomically(subject.file(run), json.dumps(Retrained(subject, 7, True, tuple(trainings)).to_data()))
    page = page_of(run)
    for words in (
        "After the search",
        "0.625 ± 0.18",
    ):
        assert words in page


def test_warnings_come_before_all_else(run, monkeypatch):
    monkeypatch.setattr("nas.results.report.remarks", lambda history: ["Warning: a <b> fails.", "A note."])
    page = page_of(run)
    assert page.index("Warning: a &lt;b&gt; fails.") < page.index("The front</h2>") < page.index("A note.")


@pytest.mark.parametrize(("beaten", "cut"), [(19, False), (20, True)])
def test_what_is_far_below_the_front_is_out_of_the_first_view_where_much_is_beaten(beaten, cut):
    others = [complete(2 + n, 0.2, 900) for n in range(beaten)]
    history = History(
        [complete(0, 0.90, 100), complete(1, 0.92, 200), *others],
        {"accuracy": "maximize", "parameters": "minimize"},
    )
    assert (front_chart(history, "parameters").layout.yaxis.range is not None) == cut
