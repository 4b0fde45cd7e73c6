"""What a search leaves for the Optuna dashboard while it goes on: a note per trial, and charts.

They are written as the dashboard reads them, without its library, which takes a second or two to import.
"""

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from nas.results.artifacts import WIRING, identifier
from nas.results.charts import axes, curves_chart, front_chart, progress_chart, small_world_chart
from nas.results.figures import figure
from nas.results.pace import Pace
from nas.results.progress import Scale, volumes
from nas.results.records import COMPLETE, Candidate, History, Record
from nas.results.selections import fusing, parts

CHARTS_EVERY_SECONDS = 2.0
PREFIX = "dashboard:"
LONGEST = 2045  # characters of an attribute


class Notes:
    """Writes what the dashboard shows into the study's own storage.

    Args:
        study: The study in Optuna's storage.
        annotate: Sets attributes of the study.
        trial_id: From the number of a trial to its id in the storage.
    """

    def __init__(
        self,
        study: optuna.Study,
        annotate: Callable[[Mapping[str, Any]], None],
        trial_id: Callable[[int], int],
    ) -> None:
        self.study = study
        self.annotate = annotate
        self.trial_id = trial_id
        self._pace = Pace(CHARTS_EVERY_SECONDS)
        self._stale = False

    def ended(self, record: Record, history: History) -> None:
        """Note the end of a trial."""
        study_id, trial_id = self.study._study_id, self.trial_id(record.number)
        picture = f"/artifacts/{study_id}/{trial_id}/{identifier(record.number, WIRING)}"
        written = _attributes(f"{trial_id}:note_str", note(record, history, picture), {})
        self.annotate(written | {f"{PREFIX}{trial_id}:note_ver": 1})
        self._stale = True

    def refresh(self, history: History) -> None:
        """Draw the charts anew, if there is news and the last time was long enough ago."""
        if self._stale and self._pace.due:
            with self._pace.timed():
                self.draw(history)

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
        there = self.study._storage.get_study_system_attrs(self.study._study_id)
        written = _attributes("note_str", front_note(history), there)
        for name, chart in charts.items():
            if chart is not None:
                chart.update_layout(title={"text": name, "x": 0.02, "y": 0.97}, margin={"t": 112})
                written |= _attributes(f"plot_data:{name}", chart.to_json(), there)
        version = f"{PREFIX}note_ver"
        self.annotate(written | {version: there.get(version, 0) + 1})


def _attributes(name: str, text: str, there: Mapping[str, Any]) -> dict[str, str]:
    """A text, in as many attributes as it takes; those of a longer one that was there are emptied."""
    before = sum(key.startswith(f"{PREFIX}{name}:") for key in there)
    count = max(-(-len(text) // LONGEST), before)
    return {f"{PREFIX}{name}:{n}": text[n * LONGEST : (n + 1) * LONGEST] for n in range(count)}


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
