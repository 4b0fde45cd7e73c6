"""All networks over two measures, the front among them."""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import isnan, nan

import plotly.graph_objects as go

from nas.experiment import Direction
from nas.registry import get
from nas.results.charts._style import QUIET, chart, style, words
from nas.results.colours import FRONT
from nas.results.dominance import non_dominated
from nas.results.figures import figure
from nas.results.progress import is_wide
from nas.results.records import PRUNED, Candidate, History, Record
from nas.results.selections import fusing

FAR = 4  # heights of the front below which a network is out of the first view
MANY = 20  # networks beaten by others, from which on some may be


def axes(history: History) -> list[str]:
    """What the first objective can be shown against: the other objectives, and all else that was measured."""
    first, *others = history.objectives
    measured = (name for candidate in history.candidates for name in candidate.values)
    names = dict.fromkeys([*others, *measured])
    return [name for name in names if name != first and _varies(history, name)] or others


def front_chart(history: History, across: str | None) -> go.Figure:
    """The first objective of all networks against another measure, or over the trials for None.

    Points carry the number of their trial in `customdata`; error bars are standard deviations
    between trainings of one network.
    """
    up = next(iter(history.objectives))
    figured = chart()
    known = [one for one in history.candidates if not across or not isnan(one.values.get(across, nan))]
    members = {candidate.number for candidate in history.front()}
    front = [candidate for candidate in known if candidate.number in members]
    dominated = [candidate for candidate in known if candidate.number not in members]
    _add_pruned(figured, history, across, up)
    if dominated:
        name = f"beaten by others ({len(dominated)})"
        figured.add_trace(_points(dominated, across, up, name, QUIET, "circle", 6, 0.55))
    if across:
        figured.add_trace(_best(history, known, across, up))
    by_fusion = sorted(front, key=_fusion)
    for number, (fusion, alike) in enumerate(groupby(by_fusion, key=_fusion)):
        shown = list(alike)
        name = f"front: {fusion} ({len(shown)})"
        figured.add_trace(_points(shown, across, up, name, *style(number), 11, 1.0))
    wide = across and is_wide(_values(known, across))
    figured.update_xaxes(title=words(across) if across else "trial")
    if wide:
        figured.update_xaxes(type="log", dtick="D2")
    figured.update_yaxes(title=words(up))
    if history.objectives[up] == "maximize":
        _leave_out_what_is_far_below(figured, _values(front, up), _values(dominated, up))
    return figured


def _points(
    candidates: Sequence[Candidate],
    across: str | None,
    up: str,
    name: str,
    colour: str,
    symbol: str,
    size: int,
    opacity: float,
) -> go.Scatter:
    x, y = _place(across), _place(up)
    return go.Scatter(
        x=[x(candidate) for candidate in candidates],
        y=[y(candidate) for candidate in candidates],
        error_y=_deviations(candidates, up, colour),
        error_x=_deviations(candidates, across, colour) if across else None,
        customdata=[candidate.number for candidate in candidates],
        text=[_fusion(candidate) for candidate in candidates],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": size, "opacity": opacity}
        | ({"line": {"color": "white", "width": 1}} if opacity == 1 else {}),
        hovertemplate=_hover(across, up),
    )


def _add_pruned(figured: go.Figure, history: History, across: str | None, up: str) -> None:
    """What was stopped early, where it stood then; in the plane of its known measures alone."""
    shown = [record for record in history.records if record.state == PRUNED and _known(record, across, up)]
    if shown:
        figured.add_scatter(
            x=[record.cheap[across] if across else record.number for record in shown],
            y=[record.metrics[-1][up] for record in shown],
            customdata=[record.number for record in shown],
            text=[f"stopped after epoch {len(record.metrics)}" for record in shown],
            mode="markers",
            name=f"stopped early ({len(shown)})",
            marker={
                "color": QUIET,
                "symbol": "x-thin",
                "size": 6,
                "opacity": 0.55,
                "line": {"width": 1.2, "color": QUIET},
            },
            hovertemplate=_hover(across, up),
        )


def _known(record: Record, across: str | None, up: str) -> bool:
    return bool(record.metrics) and up in record.metrics[-1] and (not across or across in record.cheap)


def _best(history: History, known: Sequence[Candidate], across: str, up: str) -> go.Scatter:
    """A line through the networks that no other beats in these two measures alone."""
    ways = {up: history.objectives[up], across: history.objectives.get(across) or _direction(across)}
    losses = History([], ways).losses
    kept = non_dominated([losses(candidate.values) for candidate in known])
    best = sorted(
        (candidate.values[across], candidate.values[up])
        for candidate, member in zip(known, kept, strict=True)
        if member
    )
    return go.Scatter(
        x=[x for x, _ in best],
        y=[y for _, y in best],
        mode="lines",
        line={"color": FRONT, "width": 1.5, "shape": "hv" if ways[across] == "minimize" else "vh"},
        name="best of both",
        hoverinfo="skip",
    )


def _direction(name: str) -> Direction:
    return getattr(get("objective", name), "direction", "minimize")


def _deviations(candidates: Sequence[Candidate], name: str, colour: str) -> dict[str, object] | None:
    spreads = [candidate.spread(name) or 0 for candidate in candidates]
    return {"array": spreads, "color": colour, "thickness": 1} if any(spreads) else None


def _leave_out_what_is_far_below(
    figured: go.Figure, front: Sequence[float], dominated: Sequence[float]
) -> None:
    if not front:
        return
    height = max(front) - min(front) or abs(max(front)) / 10
    floor = max(front) - FAR * height
    if len(dominated) >= MANY and any(value < floor for value in dominated):
        figured.update_yaxes(range=[floor, max(front) + height / 4])


def _place(name: str | None) -> Callable[[Candidate], float]:
    return lambda candidate: candidate.values[name] if name else candidate.number


def _values(candidates: Sequence[Candidate], name: str) -> list[float]:
    return [candidate.values[name] for candidate in candidates]


def _varies(history: History, name: str) -> bool:
    return len({figure(candidate.values.get(name)) for candidate in history.candidates}) > 1


def _fusion(candidate: Candidate) -> str:
    return fusing(candidate.architecture)


def _hover(across: str | None, up: str) -> str:
    beside = f"<br>{across} %{{x:,.5~g}}" if across else ""
    return f"trial %{{customdata}}: %{{text}}<br>{up} %{{y:.4~g}}{beside}<extra></extra>"
