"""Learning curves."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from nas.results.charts._style import QUIET, chart, style, words
from nas.results.records import COMPLETE, PRUNED, History, Record, spread_out

COLOURED = 10  # members of the front that are told apart
MOST = 200  # grey curves


def curves_chart(history: History) -> go.Figure | None:
    """The first objective that the training changes, epoch by epoch; None where nothing was logged.

    Members of the front in colour, or some along the whole of it, the others faded, with a cross where a
    trial was stopped.
    """
    logged = [record for record in history.records if record.metrics and record.state in (COMPLETE, PRUNED)]
    name = next((name for name in history.objectives if any(name in r.metrics[0] for r in logged)), None)
    if name is None:
        return None
    shown = spread_out(history.front(), COLOURED)
    members = [record for candidate in shown for record in candidate.records]
    numbers = {record.number for record in members}
    others = [record for record in logged if record.number not in numbers]
    others = others[:: -(-len(others) // MOST) or 1]
    figured = chart()
    for state, label in ((COMPLETE, "complete"), (PRUNED, "stopped early")):
        alike = [record for record in others if record.state == state]
        if alike:
            figured.add_trace(_cloud(alike, name, f"{label} ({len(alike)} shown)"))
    stopped = [record for record in others if record.state == PRUNED]
    if stopped:
        figured.add_trace(_stops(stopped, name))
    for place, record in enumerate(sorted(members, key=lambda record: -record.metrics[-1][name])):
        colour, symbol = style(place)
        figured.add_scatter(
            x=_epochs(record),
            y=_course(record, name),
            customdata=[record.number] * len(record.metrics),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 6},
            name=f"trial {record.number}",
            hovertemplate="trial %{customdata}, epoch %{x}: %{y:.4~g}<extra></extra>",
        )
    figured.update_xaxes(title="epoch", dtick=1 if _longest(logged) <= 12 else None)
    figured.update_yaxes(title=words(name))
    return figured


def _cloud(records: Sequence[Record], name: str, label: str) -> go.Scatter:
    """Many curves as one line with gaps, which is drawn at once."""
    return go.Scatter(
        x=list(_apart(_epochs(record) for record in records)),
        y=list(_apart(_course(record, name) for record in records)),
        mode="lines",
        line={"color": QUIET, "width": 1, "dash": "dot" if records[0].state == PRUNED else "solid"},
        opacity=0.45,
        name=label,
        hoverinfo="skip",
    )


def _stops(records: Sequence[Record], name: str) -> go.Scatter:
    return go.Scatter(
        x=[len(record.metrics) for record in records],
        y=[record.metrics[-1][name] for record in records],
        customdata=[record.number for record in records],
        mode="markers",
        marker={"color": QUIET, "symbol": "x", "size": 7},
        name="where it was stopped",
        hovertemplate="trial %{customdata} was stopped after epoch %{x}: %{y:.4~g}<extra></extra>",
    )


def _epochs(record: Record) -> list[int]:
    return list(range(1, len(record.metrics) + 1))


def _course(record: Record, name: str) -> list[float]:
    return [epoch[name] for epoch in record.metrics]


def _apart(curves: Iterable[Sequence[float]]) -> Iterable[float | None]:
    for curve in curves:
        yield from curve
        yield None


def _longest(records: Sequence[Record]) -> int:
    return max(len(record.metrics) for record in records)
