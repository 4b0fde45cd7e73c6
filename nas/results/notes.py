"""What a search leaves for the Optuna dashboard while it goes on: a note per trial, and charts."""

import time
from collections.abc import Callable

import optuna
from optuna_dashboard import save_note, save_plotly_graph_object
from optuna_dashboard._note import note_ver_key, split_body

from nas.results.artifacts import WIRING, identifier
from nas.results.charts import axes, curves_chart, front_chart, progress_chart, small_world_chart
from nas.results.figures import figure
from nas.results.progress import Scale, volumes
from nas.results.records import COMPLETE, Candidate, History, Record
from nas.results.rows import Rows
from nas.results.selections import fusing, parts

CHARTS_EVERY_SECONDS = 2.0
PATIENCE = 20  # charts take at most one part in so many of the time


class Notes:
    """Writes what the dashboard shows into the study's own storage.

    Args:
        study: The study in Optuna's storage.
        rows: Writes into it.
        trial_id: From the number of a trial to its id in the storage.
    """

    def __init__(self, study: optuna.Study, rows: Rows, trial_id: Callable[[int], int]) -> None:
        self.study = study
        self.rows = rows
        self.trial_id = trial_id
        self._due = 0.0
        self._stale = False

    def ended(self, record: Record, history: History) -> None:
        """Note the end of a trial."""
        study_id, trial_id = self.study._study_id, self.trial_id(record.number)
        picture = f"/artifacts/{study_id}/{trial_id}/{identifier(record.number, WIRING)}"
        # As `save_note`, which reads the notes of all trials to write one.
        self.rows.annotate(split_body(note(record, history, picture), trial_id) | {note_ver_key(trial_id): 1})
        self._stale = True

    def refresh(self, history: History) -> None:
        """Draw the charts anew, if there is news and the last time was long enough ago."""
        started = time.monotonic()
        if self._stale and started >= self._due:
            self.draw(history)
            now = time.monotonic()
            self._due = now + max(CHARTS_EVERY_SECONDS, PATIENCE * (now - started))

    def draw(self, history: History) -> None:
        """Draw the charts, and the front as the note of the study."""
        self._stale = False
        if not history.candidates:
            return
        across = next(iter(axes(history)), None)
        charts = {
            "front": front_chart(history, across),
            "hypervolume": progress_chart(volumes(history, Scale.of([history]))),
            "curves": curves_chart(history),
            "wiring": small_world_chart(history),
        }
        for name, chart in charts.items():
            if chart is not None:
                chart.update_layout(title={"text": name, "x": 0.02, "y": 0.97}, margin={"t": 112})
                save_plotly_graph_object(self.study, chart, graph_object_id=name)
        save_note(self.study, front_note(history))


def note(record: Record, history: History, picture: str) -> str:
    """A trial in markdown: what came of it, its architecture, its wiring.

    Args:
        record: The trial.
        history: All trials.
        picture: Address of the picture of its wiring.
    """
    lines = [f"### Trial {record.number}: {_state(record, history)}", ""]
    if record.failure:
        kind, message = record.failure
        lines += [f"**{kind}**", "", *(f"    {line}" for line in message.splitlines()), ""]
    measured = record.values or record.cheap
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {figure(value)} |" for name, value in measured.items()]
    lines += [f"| {slot} | {_cell(words)} |" for slot, words in parts(record.architecture).items()]
    if record.origin.parents:
        parents = ", ".join(map(str, record.origin.parents))
        lines.append(f"| from | {record.origin.operator} of {parents} |")
    if record.state == COMPLETE:
        lines += ["", f"![wiring of trial {record.number}]({picture})"]
    return "\n".join(lines)


def front_note(history: History) -> str:
    """The front in markdown, as the note of the study."""
    names = list(history.objectives)
    lines = [
        "### The front",
        "",
        f"| trial | {' | '.join(names)} | fusion |",
        "|---" * (len(names) + 2) + "|",
    ]
    return "\n".join([*lines, *(_row(candidate, names) for candidate in history.front())])


def _row(candidate: Candidate, names: list[str]) -> str:
    values = " | ".join(figure(candidate.values[name]) for name in names)
    return f"| {candidate.number} | {values} | {_cell(fusing(candidate.architecture))} |"


def _state(record: Record, history: History) -> str:
    members = {one.number for candidate in history.front() for one in candidate.records}
    return "on the front when it ended" if record.number in members else record.state


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
