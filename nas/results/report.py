"""`report.html`, `pareto.png` and the tables, made anew from what is stored."""

import base64
import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

import nas
from nas.experiment import Experiment
from nas.registry import require_plugins
from nas.results.belonging import certainty, margins
from nas.results.charts import (
    ancestry_chart,
    axes,
    curves_chart,
    front_chart,
    importance_chart,
    progress_chart,
    small_world_chart,
)
from nas.results.charts._style import words
from nas.results.figures import figure, with_deviation
from nas.results.importance import LEAST, Importances, importances
from nas.results.layers import layers
from nas.results.lineage import ancestry
from nas.results.page import render
from nas.results.plots import front_picture, png
from nas.results.progress import Scale, seconds, volumes
from nas.results.records import COMPLETE, FAILED, PRUNED, Candidate, History, Record, spread_out
from nas.results.remarks import remarks
from nas.results.retrained import Retrained, agreement, read_all
from nas.results.run_directory import LOGGED, RunDirectory, write_atomically
from nas.results.selections import IN_SHORT, in_short, parts
from nas.results.standings import standings
from nas.results.stored import history_of, read_history, stored_study
from nas.results.understanding import understanding

FILES = ("report.html", "pareto.png", "pareto.csv", "pareto.json", "trials.csv")
PICTURED = 12  # members of the front whose wiring is drawn
FAILURES = 50  # trials without a result that are listed one by one
NEAR = 0.01  # of the best value: what is as good for most


def write_report(run: RunDirectory, folder: Path | None = None) -> list[Path]:
    """Write `report.html`, `pareto.*` and `trials.csv` from the stored trials.

    Args:
        run: The run.
        folder: Where they go; None for the run directory.

    Returns:
        The files.

    Raises:
        RequestError: There is no run in the directory.
    """
    folder = folder or run.path
    experiment = run.experiment()
    require_plugins(experiment.plugins)
    history, shares = _read(run, experiment)
    run.write_tables(history, folder)
    picture = png(front_picture(history, experiment.name))
    write_atomically(folder / "pareto.png", picture)
    page = render(
        "report.html.j2",
        _charts(run, history, shares),
        front_picture=base64.b64encode(picture).decode(),
        **_summary(run, experiment, history),
        **_front(run, history),
        **_afterwards(run, history),
        **_without_result(history),
        **_again(run, experiment),
        networks=_others(history),
    )
    write_atomically(folder / "report.html", page)
    return [folder / name for name in FILES]


def _read(run: RunDirectory, experiment: Experiment) -> tuple[History, Importances]:
    """The trials and what mattered among them; the database is read once."""
    if not run.has_study:
        return read_history(run), {}
    with stored_study(run) as study:
        return history_of(study, experiment), importances(study, experiment.objectives)


def _charts(run: RunDirectory, history: History, shares: Importances) -> dict[str, go.Figure | None]:
    if not history.candidates:
        return {}
    course = volumes(history, Scale.of([history]))
    found: dict[str, go.Figure | None] = {
        f"front/{axis or 'trials'}": front_chart(history, axis) for axis in _axes(history)
    }
    found["progress"] = progress_chart(course)
    if events := run.events():
        found["progress/time"] = progress_chart(course, seconds(events))
    found |= {"curves": curves_chart(history), "small_world": small_world_chart(history)}
    found["importance"] = importance_chart(shares) if shares else None
    parents = ancestry(history)
    if any(parents.values()):
        found["ancestry"] = ancestry_chart(history, parents)
    return found


def _axes(history: History) -> Sequence[str | None]:
    """What the front is shown over; its trials alone where there is nothing else."""
    return axes(history) or [None]


def _summary(run: RunDirectory, experiment: Experiment, history: History) -> dict[str, Any]:
    counts = Counter(record.state for record in history.records)
    ends = ", ".join(f"{count} {state}" for state, count in counts.items())
    ways = [f"{name} ({direction}d)" for name, direction in history.objectives.items()]
    lead = (
        f"A search of {len(history.records)} networks on {experiment.data_name}"
        f"{': ' + ends if ends else ''}. "
        f"What it is after: {' and '.join(ways)}, measured on the validation split."
    )
    found = remarks(history)
    return {
        "name": experiment.name,
        "lead": lead,
        "cards": list(_cards(history)),
        "warnings": [remark for remark in found if remark.startswith("Warning")],
        "notes": [*run.notes(), *(remark for remark in found if not remark.startswith("Warning"))],
        "standings": standings(history),
        "too_few": LEAST if 0 < counts[COMPLETE] < LEAST else 0,
        "stopped": counts[PRUNED],
        "first": next(iter(history.objectives)),
        "version": nas.__version__,
    }


def _cards(history: History) -> Iterator[tuple[str, str, str]]:
    """The few figures that say most: a title, the figure, and what it stands on."""
    front = history.front()
    if not front:
        return
    first, *others = history.objectives
    trained = len(history.candidates)
    best = min(front, key=lambda candidate: history.losses(candidate.values)[0])
    rest = [f"{name} {figure(best.values[name])}" for name in others]
    yield f"best {first}", figure(best.values[first]), ", ".join([f"trial {best.number}", *rest])
    if others:
        limit = history.losses(best.values)[0] + NEAR * abs(best.values[first])
        near = [c for c in front if history.losses(c.values)[0] <= limit]
        small = min(near, key=lambda candidate: history.losses(candidate.values)[-1])
        below = f"trial {small.number}: {first} {figure(small.values[first])}"
        yield f"best {others[-1]} within {NEAR:.0%} of that", figure(small.values[others[-1]]), below
    yield (
        "networks on the front",
        str(len(front)),
        f"of {trained} trained to the end",
    )
    spent = sum(record.seconds or 0 for record in history.records)
    yield "time spent on trials", _duration(spent), f"{sum(len(r.metrics) for r in history.records):,} epochs"


def _duration(spent: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if spent >= size:
            return f"{spent / size:.1f} {unit}"
    return f"{spent:.0f} s"


def _front(run: RunDirectory, history: History) -> dict[str, Any]:
    front = history.front()
    columns = [*history.objectives, *(name for name in LOGGED if name not in history.objectives)]
    odds, off = certainty(history), margins(history)
    pictured = {candidate.number for candidate in spread_out(front, PICTURED)}
    members = [
        _member(run, candidate, columns, odds[candidate.number], off, candidate.number in pictured)
        for candidate in front
    ]
    best = min(front, key=lambda candidate: history.losses(candidate.values)[0], default=None)
    return {
        "axes": [(axis or "trials", words(axis or "trials")) for axis in _axes(history)],
        "measured_latency": any("latency_ms" in candidate.values for candidate in history.candidates),
        "columns": [*columns, "sure"],
        "in_short": IN_SHORT,
        "front": members,
        "chosen": best.number if best else "",
        "pictured": len(pictured),
        "replicated": any(len(candidate.records) > 1 for candidate in history.candidates),
    }


def _afterwards(run: RunDirectory, history: History) -> dict[str, Any]:
    """What was found out about networks since: on the test split, and of what they rest on."""
    results = read_all(run, history)
    return {
        "objectives": list(history.objectives),
        "retrained": [_retrained(result, list(history.objectives)) for result in results],
        "agreement": agreement(run, results),
        "understood": [
            (one.number, tables) for one in history.candidates if (tables := understanding(run, one.number))
        ],
    }


def _retrained(result: Retrained, objectives: Sequence[str]) -> dict[str, Any]:
    summary = result.summary()
    return {
        "label": result.subject.label,
        "trainings": len(result.trainings),
        "epochs": result.epochs,
        "test": [with_deviation(*summary[name]) for name in objectives],
        "found": dict(result.subject.found).get(objectives[0]),
    }


def _member(
    run: RunDirectory,
    candidate: Candidate,
    columns: Sequence[str],
    odds: float,
    margins: Mapping[int, Mapping[str, float]],
    pictured: bool,
) -> dict[str, Any]:
    architecture, own = candidate.architecture, margins.get(candidate.number, {})
    return {
        "number": candidate.number,
        "figures": [
            *(with_deviation(candidate.values.get(name), own.get(name, 0)) for name in columns),
            f"{odds:.0%}",
        ],
        "kinds": list(in_short(architecture).values()),
        "facts": _described(candidate.summary)["facts"],
        "pictured": pictured,
        "layers": layers(run, candidate.records[0]) if pictured else [],
        "architecture": json.dumps(architecture.to_data(), indent=1),
    }


def _others(history: History) -> dict[int, dict[str, Any]]:
    """What a click shows of the networks that are not on the front."""
    members = {candidate.number for candidate in history.front()}
    complete = [candidate.summary for candidate in history.candidates if candidate.number not in members]
    stopped = [record for record in history.records if record.state == PRUNED]
    return {record.number: _described(record) for record in [*complete, *stopped]}


def _described(record: Record) -> dict[str, Any]:
    """What the page tells of one network: its figures, then its parts."""
    measured: Mapping[str, float] = record.values or {**dict(record.cheap), **_last(record)}
    stopped = f", stopped after epoch {len(record.metrics)}" if record.state == PRUNED else ""
    facts = [(name, figure(value)) for name, value in measured.items()]
    return {
        "title": f"Trial {record.number}{stopped}",
        "facts": [*facts, *parts(record.architecture).items()],
    }


def _last(record: Record) -> Mapping[str, float]:
    return record.metrics[-1] if record.metrics else {}


def _without_result(history: History) -> dict[str, Any]:
    ended = [record for record in history.records if record.failure]
    counts = Counter((record.state, record.failure[0]) for record in ended if record.failure)
    # What failed says more than what was stopped or rejected, of which there may be many.
    told = sorted(ended, key=lambda record: (record.state != FAILED, -record.number))[:FAILURES]
    return {
        "without": len(ended),
        "failures": sorted(told, key=lambda record: record.number),
        "endings": [(*ending, count) for ending, count in counts.most_common()],
    }


def _again(run: RunDirectory, experiment: Experiment) -> dict[str, Any]:
    path = shlex.quote(str(run.path))
    preprocessing = run.preprocessing()
    predicts = "python -m nas.predict model NEW.csv\n" if preprocessing and preprocessing.learnt else ""
    again = ["python", "-m", "nas.search", str(run.experiment_file), "--run-dir", f"{run.path}-again"]
    return {
        "again": shlex.join(again),
        "commands": f"python -m nas.retrain {path} --trial N --baselines\n"
        f"python -m nas.export {path} --trial N --retrained --format safetensors -o model\n"
        f"{predicts}python -m nas.dashboard {path}",
        "seed": experiment.search.seed,
        "sessions": [list(_session(session)) for session in run.sessions()],
        "experiment": run.experiment_file.read_text(encoding="utf-8"),
    }


def _session(session: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "started", session["started"]
    gpus = ", ".join(session["gpus"]) or "no GPU"
    yield "command", shlex.join(session["command"])
    yield (
        "machine",
        f"{session['cores']} cores, {session['processor']}; {gpus}",
    )
    yield "system", f"{session['system']}, Python {session['python']}"
    packages = {"nas": session["nas"]} | session["packages"]
    yield "packages", ", ".join(f"{name} {number}" for name, number in packages.items())
