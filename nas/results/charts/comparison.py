"""Several searches in one chart."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas.results.charts._style import chart, style, words
from nas.results.progress import is_wide
from nas.results.records import History

DASHES = ("solid", "dash", "dot", "dashdot")


def fronts_chart(groups: Mapping[str, Sequence[History]]) -> go.Figure:
    """The front of every run, a colour per group; over the trials where there is one objective.

    Args:
        groups: By name the histories of the runs that repeat each other.
    """
    objectives = next(iter(groups.values()))[0].objectives
    up, across = next(iter(objectives)), list(objectives)[-1]
    figured = chart()
    seen = []
    for number, (name, histories) in enumerate(groups.items()):
        colour, symbol = style(number)
        for place, history in enumerate(histories):
            front = sorted(history.front(), key=lambda member: member.values[across])
            seen += [candidate.values[across] for candidate in front]
            line = {
                "color": colour,
                "width": 1.5,
                "dash": DASHES[number % len(DASHES)],
                "shape": _shape(objectives),
            }
            figured.add_scatter(
                x=[candidate.values[across] for candidate in front],
                y=[candidate.values[up] for candidate in front],
                text=[str(candidate.number) for candidate in front],
                mode="lines+markers" if len(objectives) == 2 else "markers",
                line=line,
                marker={"symbol": symbol, "size": 8, "color": colour},
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                hovertemplate=f"trial %{{text}}<br>{up} %{{y:.4~g}}<br>{across} %{{x:,.5~g}}",
            )
    figured.update_xaxes(title=words(across))
    if is_wide(seen):
        figured.update_xaxes(type="log", dtick="D2")
    return figured.update_yaxes(title=words(up))


def course_chart(bands: Mapping[str, NDArray[np.float64]]) -> go.Figure:
    """Median hypervolume over the trials, between the smallest and the largest of the runs.

    Args:
        bands: By name of the group: smallest, median, largest, `(3, trials)`.
    """
    figured = chart()
    for number, (name, (low, middle, high)) in enumerate(bands.items()):
        colour, _ = style(number)
        trials = list(range(1, len(middle) + 1))
        if (low < high).any():
            figured.add_scatter(
                x=[*trials, *reversed(trials)],
                y=[*high.tolist(), *reversed(low.tolist())],
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line={"width": 0},
                mode="lines",
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        figured.add_scatter(
            x=trials,
            y=middle.tolist(),
            mode="lines",
            line={"color": colour, "width": 2, "dash": DASHES[number % len(DASHES)]},
            name=name,
            legendgroup=name,
            hovertemplate="after %{x} trials: %{y:.4f}",
        )
    figured.update_xaxes(title="finished trials")
    return figured.update_yaxes(title="hypervolume")


def _shape(objectives: Mapping[str, str]) -> str:
    """Steps through what is reached so far, from whichever side the last objective gets worse."""
    return "hv" if list(objectives.values())[-1] == "minimize" else "vh"
