"""What the report shows of one sparse layer: pictures, and measures before and after training."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from nas.results.figures import figure
from nas.results.plots import circle_picture, course_picture, degree_picture, mask_picture, png
from nas.results.records import Record
from nas.results.run_directory import RunDirectory
from nas.results.wiring import Wiring, wirings

DPI = 80  # a page holds many pictures
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
class Picture:
    """A picture inside a page.

    Args:
        png: Its file in base64.
        alt: What it shows, in words.
    """

    png: str
    alt: str


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
    rows: Sequence[tuple[str, str, str]]


def layers(run: RunDirectory, record: Record) -> list[Layer]:
    """Every sparse layer of a trial, in the order of the network."""
    epochs = run.metrics(record.number)
    return [
        Layer(wiring.layer, list(_pictures(wiring, epochs)), _rows(wiring.layer, record))
        for wiring in wirings(run, record)
    ]


def _pictures(wiring: Wiring, epochs: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    name = wiring.layer
    yield _picture(mask_picture(wiring), _words_of_mask(wiring))
    circle = circle_picture(wiring)
    legend = ", ".join(text.get_text() for text in circle.legends[0].get_texts())
    yield _picture(circle, f"Graph of {name} on a circle; joined pairs: {legend}")
    degrees = {
        moment: measures[name]["degree_histogram"]
        for row in epochs
        for moment, measures in row.get("wiring", {}).items()
        if "degree_histogram" in measures[name]
    }
    if len(degrees) == 2:
        words = "; ".join(f"{moment}: {_words_of_degrees(counts)}" for moment, counts in degrees.items())
        yield _picture(degree_picture(**degrees), f"Degrees of {name}; {words}")
    courses = course_picture(name, epochs, list(wiring.segments or ()))
    if courses:
        kinds = ", ".join(axes.get_ylabel() for axes in courses.axes)
        yield _picture(courses, f"Course of {name} over {len(epochs)} epochs: {kinds}")


def _picture(drawn: Figure, alt: str) -> Picture:
    return Picture(base64.b64encode(png(drawn, DPI, small=True)).decode(), alt)


def _words_of_mask(wiring: Wiring) -> str:
    edges = wiring.edges
    words = (
        f"Mask of {wiring.layer}: {len(edges):,} edges from {edges.in_features} to {edges.out_features} units"
    )
    return f"{words}, beside the mask before training" if wiring.changed else words


def _words_of_degrees(counts: Sequence[int]) -> str:
    degrees = [degree for degree, units in enumerate(counts) if units]
    return f"{degrees[0]} to {degrees[-1]}"


def _rows(layer: str, record: Record) -> list[tuple[str, str, str]]:
    start, end = (record.wiring.get(moment, {}).get(layer, {}) for moment in ("start", "end"))
    return [
        (words, figure(start.get(name)), figure(end.get(name)))
        for name, words in MEASURES.items()
        if name in start or name in end
    ]
