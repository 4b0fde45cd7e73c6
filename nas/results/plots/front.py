"""The picture of the front."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.results.colours import FADED, FRONT, INK
from nas.results.plots._canvas import canvas, style
from nas.results.records import Candidate, History
from nas.results.selections import fusing

LABEL_PIXELS = 16
FAR = 4  # heights of the front below which a dominated candidate is only pointed at


def front_picture(history: History, title: str) -> Figure:
    """All candidates over the last and the first objective, the front as a line, its members by fusion.

    What lies far below the front is a triangle on the lower edge. With one objective, the objective
    over the trials.
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
    if len(history.objectives) == 2:
        axes.plot(*_points(front, across, up), color=FRONT, drawstyle="steps-post", zorder=1)
    by_fusion = sorted(front, key=_fusion)
    for number, (name, alike) in enumerate(groupby(by_fusion, key=_fusion)):
        shown = list(alike)
        label = f"front: {name} ({len(shown)})"
        axes.plot(*_points(shown, across, up), "o", color=style(number)[0], markersize=7, label=label)
    values = [candidate.values[across] for candidate in complete]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_xscale("log")
    axes.set(xlabel=f"{across} ({history.objectives[across]})", ylabel=f"{up} ({history.objectives[up]})")
    if history.objectives[up] == "maximize":
        _leave_out_what_is_far_below(axes, _points(front, across, up)[1], _points(dominated, across, up))
    _number(axes, front, across, up)
    axes.legend(loc="lower right", frameon=False)


def _fusion(candidate: Candidate) -> str:
    return fusing(candidate.architecture)


def _leave_out_what_is_far_below(
    axes: Axes, front: Sequence[float], dominated: tuple[Sequence[float], Sequence[float]]
) -> None:
    if not front:
        return
    floor = max(front) - FAR * (max(front) - min(front) or abs(max(front)) / 10)
    below = [x for x, y in zip(*dominated, strict=True) if y < floor]
    if below:
        axes.set_ylim(bottom=floor, top=max(front) + (max(front) - floor) / 20)
        axes.plot(below, [floor] * len(below), "v", color=FADED, clip_on=False, label=f"below ({len(below)})")


def _number(axes: Axes, front: Sequence[Candidate], across: str, up: str) -> None:
    """The numbers of the members, as far as there is room for them."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    taken: list[np.ndarray] = []
    for candidate in sorted(front, key=lambda candidate: -candidate.values[up]):
        place = (candidate.values[across], candidate.values[up])
        pixel = axes.transData.transform(place)
        if all(np.abs(pixel - other).max() > LABEL_PIXELS for other in taken):
            taken.append(pixel)
            axes.annotate(
                str(candidate.number),
                place,
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )


def _points(candidates: Sequence[Candidate], across: str, up: str) -> tuple[list[float], list[float]]:
    ordered = sorted((candidate.values for candidate in candidates), key=lambda values: values[across])
    return [values[across] for values in ordered], [values[up] for values in ordered]


def _columns(candidates: Sequence[Candidate], name: str) -> tuple[list[int], list[float]]:
    return [c.number for c in candidates], [c.values[name] for c in candidates]
