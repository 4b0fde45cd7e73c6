"""Where the front comes from."""

from collections.abc import Mapping

import plotly.graph_objects as go

from nas.results.charts._style import QUIET, chart, words
from nas.results.colours import FRONT
from nas.results.records import COMPLETE, History


def ancestry_chart(history: History, parents: Mapping[int, tuple[int, ...]]) -> go.Figure:
    """The front and its ancestors, a line from each parent to its child.

    Args:
        history: The trials.
        parents: Numbers of the parents by trial; see `nas.results.lineage.ancestry`.
    """
    up = next(iter(history.objectives))
    height = {number: _value(history, number, up) for number in parents}
    figured = chart()
    for inherits, dash, name in (
        (False, "solid", "trained from scratch"),
        (True, "dash", "inherits weights"),
    ):
        lines = [
            (parent, child)
            for child, own in parents.items()
            for parent in own
            if (history.records[child].origin.inherits == parent) == inherits
        ]
        if lines:
            figured.add_scatter(
                x=[place for parent, child in lines for place in (parent, child, None)],
                y=[place for parent, child in lines for place in (height[parent], height[child], None)],
                mode="lines",
                line={"color": QUIET, "width": 1.2, "dash": dash},
                name=name,
                hoverinfo="skip",
            )
    members = {candidate.number for candidate in history.front()}
    for chosen, colour, size, name in (
        ([number for number in parents if number not in members], QUIET, 7, "ancestors"),
        ([number for number in parents if number in members], FRONT, 11, "front"),
    ):
        figured.add_scatter(
            x=chosen,
            y=[height[number] for number in chosen],
            customdata=chosen,
            text=[history.records[number].origin.operator for number in chosen],
            mode="markers",
            marker={"color": colour, "size": size},
            name=name,
            hovertemplate="trial %{customdata} (%{text})<br>" + up + " %{y:.4~g}<extra></extra>",
        )
    figured.update_xaxes(title="trial")
    figured.update_yaxes(title=words(up))
    return figured


def _value(history: History, number: int, name: str) -> float | None:
    record = history.records[number]
    return record.values[name] if record.state == COMPLETE else None
