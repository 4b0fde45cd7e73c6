"""What the report shows of one sparse layer: pictures, and measures before and after training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nas.results.figures import NOTHING, figure
from nas.results.plots import (
    Picture,
    circle_picture,
    course_picture,
    degree_picture,
    embedded,
    mask_picture,
)
from nas.results.records import Record
from nas.results.run_directory import RunDirectory
from nas.results.wiring import Wiring, wirings

Row: TypeAlias = tuple[str, str, str]

MEASURES = {
    "edges": "edges",
    "density": "density",
    "clustering": "clustering",
    "path_length": "path length",
    "sigma": "sigma",
    "omega": "omega",
    "connected": "largest component",
    "cross_modal_share": "edges across modalities",
    "exploration": "explored positions",
}


@dataclass(frozen=True)
class Layer:
    """A sparse layer in the report.

    Args:
        name: Its place in the network.
        pictures: Of its wiring.
        rows: Name of a measure, its value at the start, at the end.
    """

    name: str
    pictures: Sequence[Picture]
    rows: Sequence[Row]


def layers(run: RunDirectory, record: Record) -> list[Layer]:
    """Every sparse layer of a trial, in the order of the network."""
    epochs = run.metrics(record.number)
    return [
        Layer(wiring.layer, list(_pictures(wiring, epochs)), list(_rows(wiring, record, epochs)))
        for wiring in wirings(run, record)
    ]


def _pictures(wiring: Wiring, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    name = wiring.layer
    yield embedded(mask_picture(wiring), _words_of_mask(wiring))
    circle = circle_picture(wiring)
    legend = ", ".join(text.get_text() for text in circle.legends[0].get_texts())
    yield embedded(circle, f"Graph of {name} on a circle; joined pairs: {legend}")
    degrees = {
        moment: measures[name]["degree_histogram"]
        for row in epochs
        for moment, measures in row.get("wiring", {}).items()
        if "degree_histogram" in measures[name]
    }
    if len(degrees) == 2:
        words = "; ".join(f"{moment}: {_words_of_degrees(counts)}" for moment, counts in degrees.items())
        yield embedded(degree_picture(**degrees), f"Degrees of {name}; {words}")
    courses = course_picture(name, epochs, list(wiring.segments or ()))
    if courses:
        kinds = ", ".join(axes.get_ylabel() for axes in courses.axes)
        yield embedded(courses, f"Course of {name} over {len(epochs)} epochs: {kinds}")


def _words_of_mask(wiring: Wiring) -> str:
    edges = wiring.edges
    words = (
        f"Mask of {wiring.layer}: {len(edges):,} edges from {edges.in_features} to {edges.out_features} units"
    )
    return f"{words}, beside the mask before training" if wiring.changed else words


def _words_of_degrees(counts: Sequence[int]) -> str:
    degrees = [degree for degree, units in enumerate(counts) if units]
    return f"{degrees[0]} to {degrees[-1]}"


def _rows(wiring: Wiring, record: Record, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    start, end = (record.wiring.get(moment, {}).get(wiring.layer, {}) for moment in ("start", "end"))
    for name, words in MEASURES.items():
        if name in start or name in end:
            yield words, figure(start.get(name)), figure(end.get(name))
    if end:
        yield from _rows_of_shares(wiring, epochs)
    if "identifiable" in end:
        yield from _rows_of_verdict(end, list(wiring.segments or ()))


def _rows_of_shares(wiring: Wiring, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The share of the edges of each pair of segments, before and after training."""
    measures = [layers[wiring.layer] for row in epochs for layers in row.get("wiring", {}).values()]
    shares = [found["shares"] for found in measures if found.get("shares")]
    if len(shares) == 2 and wiring.segments is not None:
        start, end = shares
        for to, name in enumerate(wiring.segments):
            for origin, other in enumerate(wiring.segments):
                yield f"edges {name} ← {other}", figure(start[to][origin]), figure(end[to][origin])


def _rows_of_verdict(measures: Mapping[str, float], names: Sequence[str]) -> Iterator[Row]:
    """Whether the learned wiring is a finding, and what the search has ended with from every start."""
    verdict = "identifiable" if measures["identifiable"] else "not identifiable"
    yield "learned wiring", NOTHING, f"{verdict} (spread {figure(measures['spread'])})"
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for key, share in measures.items():
        kind, *rest = key.split("/")
        if kind in ("beta_from", "budgets_from"):
            found.setdefault(tuple(rest[1:]), {})[rest[0]] = share
    for segments, shares in found.items():
        to = " ← ".join(names[int(segment)] if names else segment for segment in segments) or "beta"
        yield f"{to} learned", ", ".join(shares), ", ".join(figure(share) for share in shares.values())
