"""`report.html`, `pareto.png` and the tables, made anew from what is stored."""

import base64
import json
from collections import Counter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nas.registry import require_plugins
from nas.results.figures import figure
from nas.results.layers import layers
from nas.results.plots import front_picture, png
from nas.results.records import Candidate, History
from nas.results.remarks import certainty, remarks
from nas.results.run_directory import LOGGED, RunDirectory, write_atomically
from nas.results.stored import read_history


def write_report(run: RunDirectory) -> None:
    """Write `trials.csv`, `pareto.*` and `report.html` from the stored trials.

    Raises:
        RequestError: There is no run in the directory.
    """
    experiment = run.experiment()
    require_plugins(experiment.plugins)
    history = read_history(run)
    run.write_tables(history)
    picture = png(front_picture(history, experiment.name))
    write_atomically(run.path / "pareto.png", picture)
    columns = [*history.objectives, *(name for name in LOGGED if name not in history.objectives)]
    odds = certainty(history)
    page = _template().render(
        name=experiment.name,
        counts=_counts(history),
        objectives=", ".join(f"{name} ({direction})" for name, direction in history.objectives.items()),
        front_picture=base64.b64encode(picture).decode(),
        remarks=[*run.notes(), *remarks(history)],
        columns=[*columns, "probability"],
        front=[_member(run, candidate, columns, odds[candidate.number]) for candidate in history.front()],
        failures=[record for record in history.records if record.failure],
        experiment=run.experiment_file.read_text(encoding="utf-8"),
    )
    write_atomically(run.path / "report.html", page)


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("nas.results", ""), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2")


def _counts(history: History) -> str:
    states = Counter(record.state for record in history.records)
    return f"{len(history.records)} trials: " + ", ".join(
        f"{count} {state}" for state, count in states.items()
    )


def _member(run: RunDirectory, candidate: Candidate, columns: list[str], odds: float) -> dict[str, Any]:
    architecture = candidate.architecture
    return {
        "number": candidate.number,
        "figures": [*(figure(candidate.values.get(name)) for name in columns), f"{odds:.0%}"],
        "parts": [" ".join(architecture[slot]) for slot in ("connector", "fusion", "head")],
        "layers": layers(run, candidate.records[0]),
        "architecture": json.dumps(architecture.to_data(), indent=1),
    }
