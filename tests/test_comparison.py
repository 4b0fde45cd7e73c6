"""`python -m nas.report RUN1 RUN2 …`: fronts, hypervolume with bands, significance, and what is refused."""

import json
import re

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from test_report import complete

from nas import report
from nas.experiment import Experiment
from nas.modality import ModalitySpec, Task
from nas.results import comparison
from nas.results.comparison import Verdict, _holm, compare, verdicts
from nas.results.progress import Scale, volumes
from nas.results.records import History
from nas.results.run_directory import RunDirectory

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}


def history(seed, better=0.0, trials=12):
    rng = np.random.default_rng(seed)
    records = [
        complete(n, float(rng.uniform(0.2, 0.6) + better), int(rng.integers(100, 5000)))
        for n in range(trials)
    ]
    return History(records, OBJECTIVES)


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Make a run of a name and a seed, with a history: `make_run("a", 0, history) -> RunDirectory`."""
    stored = {}
    monkeypatch.setattr(comparison, "read_history", lambda run: stored[run.path.name])

    def make(name, seed, found, **sections):
        data = {"name": name, "data": {"avt_digits": {}}, "search": {"seed": seed}, "space": {"dim": 8}}
        run = RunDirectory(tmp_path / f"{name}-{seed}")
        modalities = {"image": ModalitySpec("image", (1, 8, 8))}
        run.create(Experiment.model_validate(data | sections), modalities, Task("classification", ("a", "b")))
        stored[run.path.name] = found
        return run

    return make


@pytest.fixture
def runs(make_run):
    """Four repeats of each of two experiments, of which the second is better by far."""
    plain = [make_run("plain", seed, history(seed)) for seed in range(4)]
    return plain + [make_run("guided", seed, history(10 + seed, better=0.35)) for seed in range(4)]


def test_runs_of_one_experiment_with_other_seeds_are_repeats(runs):
    groups = compare(runs)
    assert [(group.name, len(group.runs)) for group in groups] == [("plain", 4), ("guided", 4)]
    assert [run.experiment.search.seed for run in groups[1].runs] == [0, 1, 2, 3]


def test_runs_of_one_name_that_differ_in_more_are_told_apart(make_run):
    one = make_run("same", 0, history(0))
    other = make_run("same", 1, history(1), training={"epochs": 3})
    assert [group.name for group in compare([one, other])] == ["same (same-0)", "same (same-1)"]


def test_all_runs_are_measured_on_one_scale(runs):
    groups = compare(runs)
    scale = Scale.of([run.history for group in groups for run in group.runs])
    for group in groups:
        for run in group.runs:
            assert run.course == list(volumes(run.history, scale).values())
    best = max(c.values["accuracy"] for g in groups for r in g.runs for c in r.history.candidates)
    assert scale.best[0] == -best


def test_the_band_runs_from_the_worst_to_the_best_of_the_repeats(runs):
    group = compare(runs)[0]
    courses = np.array([run.course for run in group.runs])
    low, middle, high = group.band
    np.testing.assert_allclose(low, courses.min(0))
    np.testing.assert_allclose(middle, np.median(courses, 0))
    np.testing.assert_allclose(high, courses.max(0))


def test_a_difference_is_tested_as_scipy_does_and_said_in_words(runs):
    plain, guided = compare(runs)
    [verdict] = verdicts([plain, guided], 12)
    expected = mannwhitneyu(plain.at(12), guided.at(12))
    assert verdict.p == pytest.approx(expected.pvalue)
    assert verdict.effect == pytest.approx(
        np.mean([[a > b or (a == b) / 2 for b in guided.at(12)] for a in plain.at(12)])
    )
    assert str(verdict).startswith(
        "guided is better: a run of plain beats one of guided in 0% of the pairs (large"
    )


def test_repeats_that_are_alike_show_no_difference(make_run):
    groups = compare([make_run(name, seed, history(seed)) for name in ("one", "other") for seed in range(4)])
    [verdict] = verdicts(groups, 12)
    assert verdict.p == 1
    assert str(verdict).startswith(
        "No difference is shown: a run of one beats one of other in 50% of the pairs"
    )


def test_a_single_run_of_each_cannot_be_tested(runs):
    [verdict] = verdicts(compare([runs[0], runs[4]]), 12)
    assert verdict.p is None
    assert "repeat both with other seeds" in str(verdict)


def test_too_few_repeats_are_said_to_prove_nothing(runs):
    [verdict] = verdicts(compare([*runs[:3], *runs[4:7]]), 12)
    assert verdict.least == pytest.approx(0.1)
    assert "So few repeats cannot show a difference, however large." in str(verdict)


def test_many_pairs_are_corrected_as_holm_does():
    assert _holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert _holm([]) == []


def test_the_page_has_every_front_and_the_verdict(runs, tmp_path, capsys):
    assert report.main([*(str(run.path) for run in runs), "-o", str(tmp_path / "c.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert "guided is better" in page
    [text] = re.findall(r'id="charts">(.*?)</script>', page, re.DOTALL)
    fronts = json.loads(text)["fronts"]["data"]
    assert len(fronts) == len(runs)
    for trace, run in zip(fronts, runs, strict=True):
        front = comparison.read_history(run).front()
        assert sorted(map(int, trace["text"])) == sorted(member.number for member in front)


def test_the_page_lies_beside_the_runs_unless_it_is_told_where(runs, tmp_path, capsys):
    assert report.main([str(run.path) for run in runs[:2]]) == 0
    assert (tmp_path / "compare.html").exists()
    assert "All searches are repeats of one experiment" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"objectives": {"accuracy": "maximize"}}, "their objectives differ (accuracy maximized, parameters"),
        ({"data": {"avt_digits": {"modalities": ["image"]}}}, "their data differ"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_with_the_reason(
    make_run, tmp_path, capsys, sections, reason
):
    one = make_run("one", 0, history(0))
    other = make_run("other", 0, history(1), **sections)
    assert report.main([str(one.path), str(other.path)]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "compare.html").exists()


def test_runs_on_data_of_another_task_are_refused(make_run, capsys):
    one, other = make_run("one", 0, history(0)), make_run("other", 0, history(1))
    data = json.loads(other.data_file.read_text())
    data["modalities"]["image"] = ModalitySpec("image", (3, 8, 8)).to_data()
    other.data_file.write_text(json.dumps(data))
    assert report.main([str(one.path), str(other.path)]) == 2
    assert "the modalities or the task of their data differ" in capsys.readouterr().err


def test_a_run_without_a_complete_trial_is_refused(make_run, capsys):
    one, other = make_run("one", 0, history(0)), make_run("other", 0, History([], OBJECTIVES))
    assert report.main([str(one.path), str(other.path)]) == 2
    assert f"{other.path} has no complete trial yet" in capsys.readouterr().err


def test_a_file_for_the_report_of_a_single_run_is_refused(make_run, capsys):
    assert report.main([str(make_run("one", 0, history(0)).path), "-o", "x.html"]) == 2
    assert "-o x.html: the report of one run is several files; give a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("effect", "word"), [(0.5, "negligible"), (0.6, "small"), (0.35, "medium"), (0, "large")]
)
def test_the_size_of_an_effect_is_said_in_words(effect, word):
    assert f"({word} effect)" in str(Verdict("a", "b", 0.5, effect, 0.01))


def test_a_run_is_no_repeat_of_itself(make_run, capsys):
    run = make_run("one", 0, history(0))
    assert report.main([str(run.path), str(run.path)]) == 2
    assert f"{run.path} is given 2 times" in capsys.readouterr().err
