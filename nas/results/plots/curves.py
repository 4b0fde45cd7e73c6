"""The picture of what a trained network is worth while one of its modalities gets worse."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nas.results.plots._canvas import canvas, style

MARKERS = "osD^v*X"


def curve_picture(curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> Figure:
    """A line for each modality, over what is done to it.

    Args:
        curves: By modality, steps and scores.
        across: What a step is.
        up: Name of the score.
    """
    figure = canvas(4.8, 2.8)
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        colour, dashes = style(number)
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(*zip(*curve, strict=True), color=colour, linestyle=dashes, marker=marker, label=name)
    axes.set(xlabel=across, ylabel=up)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, frameon=False)
    return figure
