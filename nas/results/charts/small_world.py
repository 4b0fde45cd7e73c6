"""The wiring of all networks, between order and chance."""

from collections.abc import Mapping
from statistics import fmean

import plotly.graph_objects as go

from nas.results.charts._style import chart, words
from nas.results.colours import FRONT
from nas.results.progress import is_wide
from nas.results.records import COMPLETE, History, Record


def small_world_chart(history: History) -> go.Figure | None:
    """Clustering over path length of each network's sparse layers; None where none was measured.

    The colour is the first objective; lines lead from the wiring before training to that after it.
    """
    up = next(iter(history.objectives))
    ends = {r.number: place for r in history.records if r.state == COMPLETE and (place := _place(r, "end"))}
    if not ends:
        return None
    figured = chart(showlegend=False)
    _add_moves(figured, history, ends)
    members = {candidate.number for candidate in history.front()}
    for chosen, size, outline in (
        ([number for number in ends if number not in members], 8, "rgba(0,0,0,0)"),
        ([number for number in ends if number in members], 12, FRONT),
    ):
        figured.add_scatter(
            x=[ends[number][0] for number in chosen],
            y=[ends[number][1] for number in chosen],
            customdata=chosen,
            mode="markers",
            marker={
                "color": [history.records[number].values[up] for number in chosen],
                "coloraxis": "coloraxis",
                "size": size,
                "line": {"color": outline, "width": 2},
            },
            hovertemplate="trial %{customdata}<br>path length %{x:.3g}<br>clustering %{y:.3g}<br>"
            + up
            + " %{marker.color:.4~g}<extra></extra>",
        )
    bar = {"title": {"text": words(up), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    values = [history.records[number].values[up] for number in ends]
    scale = {"cmin": min(values), "cmax": max(values), "showscale": len(set(values)) > 1}
    figured.update_layout(coloraxis={"colorscale": "Cividis", "colorbar": bar, **scale})
    figured.update_xaxes(title="path length (steps between two units)")
    if is_wide(length for length, _ in ends.values()):
        figured.update_xaxes(type="log", dtick="D2")
    figured.update_yaxes(title="clustering", rangemode="tozero")
    return figured


def _add_moves(figured: go.Figure, history: History, ends: Mapping[int, tuple[float, float]]) -> None:
    moves = [
        (start, end)
        for number, end in ends.items()
        if (start := _place(history.records[number], "start")) and start != end
    ]
    if moves:
        figured.add_scatter(
            x=[x for start, end in moves for x in (start[0], end[0], None)],
            y=[y for start, end in moves for y in (start[1], end[1], None)],
            mode="lines",
            line={"color": "#8a94a6", "width": 1},
            hoverinfo="skip",
        )


def _place(record: Record, moment: str) -> tuple[float, float] | None:
    """Mean path length and clustering of a trial's sparse layers, where they were measured."""
    layers = [
        (measures["path_length"], measures["clustering"])
        for measures in record.wiring.get(moment, {}).values()
        if {"path_length", "clustering"} <= measures.keys()
    ]
    return (fmean(x for x, _ in layers), fmean(y for _, y in layers)) if layers else None
