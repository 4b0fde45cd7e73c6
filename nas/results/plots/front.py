"""The picture of the front."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.results.plots._canvas import FADED, FRONT, INK, canvas
from nas.results.records import Candidate, History


def front_picture(history: History, title: str) -> Figure:
    """All candidates over the last and the first objective, the front as a line through them.

    With one objective, the objective over the trials.
    """
    figure = canvas(7.5, 5)
    axes = figure.add_subplot()
    complete = history.candidates
    names = list(history.objectives)
    if len(names) == 1:
        axes.plot(*_columns(complete, names[0]), "o", color=INK)
        axes.set(xlabel="trial", ylabel=names[0])
    else:
        _draw_front(axes, history, complete, names[-1], names[0])
    axes.set_title(title, loc="left", color=INK)
    axes.grid(alpha=0.25)
    return figure


def _draw_front(axes: Axes, history: History, complete: list[Candidate], across: str, up: str) -> None:
    front = history.front()
    members = {candidate.number for candidate in front}
    dominated = [candidate for candidate in complete if candidate.number not in members]
    axes.plot(
        *_points(dominated, across, up), "o", color=FADED, markersize=5, label=f"dominated ({len(dominated)})"
    )
    x, y = _points(front, across, up)
    style = "o-" if len(history.objectives) == 2 else "o"
    axes.plot(x, y, style, color=FRONT, drawstyle="steps-post", markersize=7, label=f"front ({len(front)})")
    for candidate, place in zip(front, zip(x, y, strict=True), strict=True):
        label = f"{candidate.number} {' '.join(candidate.architecture['fusion'])}"
        axes.annotate(label, place, xytext=(4, -10), textcoords="offset points", fontsize=7, color=INK)
    values = [candidate.values[across] for candidate in complete]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_xscale("log")
    axes.set(xlabel=f"{across} ({history.objectives[across]})", ylabel=f"{up} ({history.objectives[up]})")
    axes.legend(loc="lower right", frameon=False)


def _points(candidates: Sequence[Candidate], across: str, up: str) -> tuple[list[float], list[float]]:
    ordered = sorted((candidate.values for candidate in candidates), key=lambda values: values[across])
    return [values[across] for values in ordered], [values[up] for values in ordered]


def _columns(candidates: Sequence[Candidate], name: str) -> tuple[list[int], list[float]]:
    return [c.number for c in candidates], [c.values[name] for c in candidates]
