"""Which decisions matter."""

from collections.abc import Mapping

import plotly.graph_objects as go

from nas.results.charts._style import chart, style

MOST = 12


def importance_chart(importances: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Bars of the most important decisions, a colour per objective.

    Args:
        importances: By objective the share of each decision.
    """
    largest: dict[str, float] = {}
    for shares in importances.values():
        for path, share in shares.items():
            largest[path] = max(largest.get(path, 0.0), share)
    paths = sorted(sorted(largest, key=lambda path: -largest[path])[:MOST], key=lambda path: largest[path])
    figured = chart(barmode="group", bargap=0.35)
    for number, (objective, shares) in enumerate(importances.items()):
        figured.add_bar(
            y=[_short(path) for path in paths],
            customdata=paths,
            x=[shares.get(path, 0.0) for path in paths],
            orientation="h",
            name=objective,
            marker={"color": style(number)[0], "pattern": {"shape": ("", "/", ".", "x")[number % 4]}},
            hovertemplate="%{customdata}: %{x:.0%}<extra>" + objective + "</extra>",
        )
    figured.update_xaxes(title="share of the importance", tickformat=".0%", rangemode="tozero")
    return figured


def _short(path: str) -> str:
    """A path of keys without its middle: `connector … watts_strogatz.beta`."""
    first, *rest = path.split(".")
    return path if len(rest) < 3 else f"{first} … {'.'.join(rest[-2:])}"
