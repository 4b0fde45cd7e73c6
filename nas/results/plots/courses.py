"""Pictures of what changes over the epochs: learned shares of the wiring, and how much of it was explored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.results.colours import FADED
from nas.results.plots._canvas import canvas, pair_numbers, style

KINDS = {"beta": "beta", "budgets": "share of the edges", "exploration": "explored positions"}
FROZEN = "soft_to_hard_gap"  # is measured when the wiring is frozen, and stays from then on


def course_picture(layer: str, epochs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure | None:
    """What was logged of a sparse layer over the epochs, one panel per kind; None where nothing was.

    Exploration is left out where no new position was explored, as without a rule.

    Args:
        layer: Name of the layer.
        epochs: The rows of `metrics.jsonl`.
        names: Names of the layer's segments.
    """
    logged = {kind: courses for kind in KINDS if (courses := _courses(kind, layer, epochs))}
    if not _changes(logged.get("exploration", {}), epochs):
        logged.pop("exploration", None)
    if not logged:
        return None
    figure = canvas(3.6 * len(logged), 2.8)
    panels = figure.subplots(1, len(logged), squeeze=False)[0]
    for axes, (kind, courses) in zip(panels, logged.items(), strict=True):
        _draw(axes, epochs, courses, names)
        axes.set(xlabel="epoch", ylabel=KINDS[kind], xlim=(0.5, epochs[-1]["epoch"] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if kind != "exploration":
            axes.set_ylim(-0.02, 1.02)
            _mark_freezing(axes, epochs)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6, frameon=False, ncols=2)
    return figure


def _courses(kind: str, layer: str, epochs: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The keys of a kind that belong to a layer, with the segments that each ends with."""
    own = f"{kind}/{layer}"
    keys = {key: None for row in epochs for key in row if key == own or key.startswith(f"{own}/")}
    return {key: [int(segment) for segment in key.removeprefix(own).split("/")[1:]] for key in keys}


def _changes(keys: Iterable[str], epochs: Sequence[Mapping[str, Any]]) -> bool:
    return any(len({row[key] for row in epochs if key in row}) > 1 for key in keys)


def _draw(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], courses: Mapping[str, list[int]], names: Sequence[str]
) -> None:
    """A line per key, named and coloured by its segments."""
    most = 1 + max((segment for segments in courses.values() for segment in segments), default=0)
    names = names if len(names) >= most else [str(segment) for segment in range(most)]
    numbers = pair_numbers(len(names))
    for key, segments in courses.items():
        one, other = (segments[0], segments[-1]) if segments else (0, 0)
        rows = [row for row in epochs if row.get(key) is not None]
        axes.plot(
            [row["epoch"] for row in rows],
            [row[key] for row in rows],
            marker=".",
            color=style(numbers[min(one, other), max(one, other)])[0],  # as on the circle
            linestyle="solid" if one <= other else "dashed",  # for its second direction
            label=" ← ".join(names[segment] for segment in segments) or None,
        )


def _mark_freezing(axes: Axes, epochs: Sequence[Mapping[str, Any]]) -> None:
    frozen = next((row["epoch"] for row in epochs if FROZEN in row), None)
    if frozen is not None:
        axes.axvline(frozen, color=FADED, linestyle="dotted", label="frozen")
