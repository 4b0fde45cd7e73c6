"""The growth of the front's hypervolume."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from nas.results.charts._style import chart
from nas.results.colours import APART


def progress_chart(volumes: Mapping[int, float], seconds: Mapping[int, float] | None = None) -> go.Figure:
    """Hypervolume after each finished trial, over the trials or over the time of the search.

    Args:
        volumes: Hypervolume by trial, in the order of finishing.
        seconds: Time until each trial had ended; None to count trials.
    """
    count: Sequence[float] = range(1, len(volumes) + 1)
    if seconds is not None:
        count = [seconds.get(number, 0.0) / 60 for number in volumes]
    figured = chart(showlegend=False)
    figured.add_scatter(
        x=list(count),
        y=list(volumes.values()),
        customdata=list(volumes),
        mode="lines",
        line={"color": APART[0], "width": 2, "shape": "hv"},
        fill="tozeroy",
        fillcolor="rgba(0, 114, 178, 0.08)",
        hovertemplate="after trial %{customdata}: %{y:.4f}<extra></extra>",
    )
    figured.update_xaxes(title="finished trials" if seconds is None else "minutes of search")
    figured.update_yaxes(title="hypervolume", rangemode="tozero")
    return figured
