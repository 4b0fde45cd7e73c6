"""Pictures of one sparse layer's wiring: its mask, its graph on a circle, its degrees."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nas.results.colours import APART, FADED, FRONT, INK
from nas.results.plots._canvas import canvas, pair_numbers, style
from nas.results.wiring import Wiring
from nas.topologies import Edges

SPREAD = 160  # points that the wider side of a mask takes
GAP = 0.025  # between two groups on the circle, as a share of it
DROPPED, GROWN = APART[1], APART[2]


def mask_picture(wiring: Wiring) -> Figure:
    """The mask of the layer, with the boundaries of its segments; where it has changed, before and after.

    Edges that are only there before, or only after, have a colour of their own.
    """
    before, after = wiring.start, wiring.edges
    count = f"{len(after):,} edges, density {after.density:.1%}"
    height = 0.9 + 3.6 * min(1, max(0.1, after.out_features / after.in_features))
    figure = canvas(8 if wiring.changed else 4, height)
    figure.suptitle(wiring.layer, fontsize=9)
    if not wiring.changed:
        _draw_mask(figure.add_subplot(), wiring, after, np.full(len(after), INK), count)
        return figure
    left, right = figure.subplots(1, 2)
    dropped, grown = ~_within(before, after), ~_within(after, before)
    first = f"start: {len(before):,} edges, {dropped.sum():,} of them dropped later"
    _draw_mask(left, wiring, before, np.where(dropped, DROPPED, INK), first)
    _draw_mask(right, wiring, after, np.where(grown, GROWN, INK), f"end: {count}, {grown.sum():,} grown")
    return figure


def circle_picture(wiring: Wiring) -> Figure:
    """The graph of the layer, its units on a circle, a line between two that are joined.

    The units stand in groups: the modalities of a layer that spans them, the inputs and outputs of a
    rectangular one. Lines are coloured by the groups of their ends.
    """
    groups, ends = _graph(wiring)
    figure = Figure(figsize=(3.6, 3.8))  # laid out by hand: a report draws many
    axes = figure.add_axes((0.02, 0.14, 0.96, 0.75))
    angles = _angles(list(groups.values()))
    places = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    bounds = np.cumsum(list(groups.values()))
    kinds = np.searchsorted(bounds, ends, side="right")
    for pair, number in pair_numbers(len(groups)).items():
        chosen = ends[(kinds == pair).all(1)]
        if len(chosen):
            colour, dashes = style(number)
            label = _pair_label(list(groups), pair, len(chosen) / len(ends))
            lines = LineCollection(places[chosen], colors=colour, linestyles=dashes, linewidths=0.6)
            lines.set(alpha=_alpha(len(ends)), zorder=2 - number / 100)  # those inside a group on top
            axes.add_collection(lines)
            axes.plot([], [], color=colour, linestyle=dashes, label=label)
    _draw_arcs(axes, list(groups), np.split(angles, bounds[:-1]))
    axes.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22), aspect="equal")
    axes.axis("off")
    axes.set_title(f"{wiring.layer}\n{len(ends):,} joined pairs of {len(angles):,} units", fontsize=9)
    figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def wiring_picture(wirings: Sequence[Wiring], title: str) -> Figure:
    """The masks of all sparse layers of a network side by side, after training."""
    figure = canvas(3.4 * max(1, len(wirings)), 4)
    figure.suptitle(title, fontsize=9)
    if not wirings:
        axes = figure.add_subplot()
        axes.text(0.5, 0.5, "no sparse layers", ha="center", va="center", color=INK)
        axes.axis("off")
        return figure
    panels = figure.subplots(1, len(wirings), squeeze=False)[0]
    for axes, wiring in zip(panels, wirings, strict=True):
        words = f"{wiring.layer}\n{len(wiring.edges):,} edges, density {wiring.edges.density:.1%}"
        _draw_mask(axes, wiring, wiring.edges, np.full(len(wiring.edges), INK), words)
    return figure


def degree_picture(start: Sequence[int], end: Sequence[int]) -> Figure:
    """Histograms of the degrees before and after training.

    Args:
        start: Number of units of degree 0, 1, 2 …
        end: The same, after training.
    """
    figure = canvas(3.4, 2.4)
    axes = figure.add_subplot()
    for counts, shift, colour, label in ((start, -0.2, FADED, "start"), (end, 0.2, INK, "end")):
        axes.bar(np.arange(len(counts)) + shift, counts, width=0.4, color=colour, label=label)
    used = np.flatnonzero(np.pad(start, (0, max(0, len(end) - len(start)))))
    used = np.union1d(used, np.flatnonzero(end))
    axes.set(xlabel="degree", ylabel="units", xlim=(used[0] - 1, used[-1] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7)
    return figure


def _draw_mask(axes: Axes, wiring: Wiring, edges: Edges, colours: NDArray[np.str_], title: str) -> None:
    size = (SPREAD / max(edges.out_features, edges.in_features)) ** 2
    axes.scatter(edges.source, edges.target, s=size, marker="s", color=colours, linewidths=0)
    axes.set(xlim=(-0.5, edges.in_features - 0.5), ylim=(edges.out_features - 0.5, -0.5), aspect="equal")
    axes.set_title(title, fontsize=8)
    if wiring.segments is not None:
        _draw_boundaries(axes, wiring.segments)


def _draw_boundaries(axes: Axes, segments: Mapping[str, int]) -> None:
    widths = np.fromiter(segments.values(), dtype=float)
    ends = np.cumsum(widths)
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color=FRONT, linewidth=1)
        axes.axvline(end - 0.5, color=FRONT, linewidth=1)
    middles = ends - widths / 2 - 0.5
    axes.set_xticks(middles, list(segments))
    axes.set_yticks(middles, list(segments), rotation=90, va="center")
    axes.tick_params(length=0)


def _within(edges: Edges, others: Edges) -> NDArray[np.bool_]:
    """Which of the edges are among the others."""
    one, other = (part.target * part.in_features + part.source for part in (edges, others))
    return np.isin(one, other)


def _graph(wiring: Wiring) -> tuple[dict[str, int], NDArray[np.int64]]:
    """Width of every group of units by its name, and each pair of joined units once, `(pairs, 2)`."""
    edges = wiring.edges
    target, groups = edges.target, {"units": edges.in_features}
    if edges.in_features != edges.out_features:
        target = target + edges.in_features
        groups = {"inputs": edges.in_features, "outputs": edges.out_features}
    ends = np.sort(np.stack([edges.source, target], axis=1), axis=1)
    ends = np.unique(ends[ends[:, 0] < ends[:, 1]], axis=0)
    return dict(wiring.segments or groups), ends


def _angles(widths: Sequence[int]) -> NDArray[np.float64]:
    """Where the units stand, clockwise from the top in radians; groups are apart."""
    gap = GAP if len(widths) > 1 else 0.0
    step = (1 - gap * len(widths)) / sum(widths)
    firsts = [0, *accumulate(widths)]
    turns = [
        group * gap + gap / 2 + (np.arange(first, last) + 0.5) * step
        for group, (first, last) in enumerate(pairwise(firsts))
    ]
    return 2 * np.pi * np.concatenate(turns)


def _draw_arcs(axes: Axes, names: Sequence[str], angles: Sequence[NDArray[np.float64]]) -> None:
    """An arc outside of every group, with its name."""
    for number, (name, own) in enumerate(zip(names, angles, strict=True)):
        along = np.linspace(own[0], own[-1], 200)
        axes.plot(1.05 * np.sin(along), 1.05 * np.cos(along), color=style(number)[0], linewidth=5)
        middle = own.mean()
        turned = -np.degrees(middle) + (180 if np.cos(middle) < 0 else 0)
        x, y = 1.17 * np.sin(middle), 1.17 * np.cos(middle)
        axes.text(x, y, name, ha="center", va="center", rotation=turned, fontsize=8, color=INK)


def _pair_label(names: Sequence[str], pair: tuple[int, int], share: float) -> str:
    one, other = (names[place] for place in pair)
    return f"{one} {share:.0%}" if one == other else f"{one}–{other} {share:.0%}"


def _alpha(lines: int) -> float:
    """The more lines, the fainter: what lies below stays visible."""
    return float(np.clip(12 / np.sqrt(lines), 0.06, 0.8))
