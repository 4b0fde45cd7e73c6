"""What all charts share: one look, and words for what is on their axes."""

from typing import Any

import plotly.graph_objects as go

from nas.results.colours import APART, INK

GRID = "#e3e7ee"
QUIET = "#8a94a6"  # for what stands back: still told from white paper
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "triangle-down")
WORDS = {
    "sparsity": "sparsity (share of weights left out)",
    "flops": "flops (operations per sample)",
    "latency_ms": "latency (ms per sample)",
    "memory_mb": "memory (MB)",
}


def chart(**layout: Any) -> go.Figure:
    """An empty chart in our look; `layout` as in plotly."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True, "ticks": ""}
    look = {
        "template": "none",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "colorway": APART,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": axis,
        "yaxis": axis,
    }
    return go.Figure(layout=look).update_layout(**layout)


def style(number: int) -> tuple[str, str]:
    """Colour and symbol of the points of that number: up to seven are told apart by either."""
    rounds, place = divmod(number, len(APART))
    return APART[place], SYMBOLS[(place + rounds) % len(SYMBOLS)]


def words(name: str) -> str:
    """What stands on the axis of an objective."""
    return WORDS.get(name, name)
