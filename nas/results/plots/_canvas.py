"""What all pictures share: colours, sizes, and the way to a file or into a page."""

import base64
import io
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nas.results.colours import APART, FADED, FRONT, INK

DASHES = ("solid", "dashed", "dotted")
TINTS = 8
DPI = 80  # a page holds many pictures


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Args:
        png: Its file in base64.
        alt: What it shows, in words.
    """

    png: str
    alt: str


def canvas(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def style(number: int) -> tuple[str, str]:
    """Colour and dashes of the line of that number: all are different up to 21."""
    rounds, place = divmod(number, len(APART))
    return APART[place], DASHES[rounds % len(DASHES)]


def pair_numbers(groups: int) -> dict[tuple[int, int], int]:
    """A number for every pair of groups: first each with itself, then the others."""
    inside = [(group, group) for group in range(groups)]
    return {pair: number for number, pair in enumerate([*inside, *combinations(range(groups), 2)])}


def png(figure: Figure, dpi: int = 120, small: bool = False) -> bytes:
    """The bytes of a figure's PNG file; a fifth of them if it may be `small`, of our colours' tints alone."""
    figure.set_dpi(dpi)
    drawn = FigureCanvasAgg(figure)
    drawn.draw()  # once; savefig draws twice, which is most of the time that a report takes
    picture = Image.fromarray(np.asarray(drawn.buffer_rgba())).convert("RGB")
    if small:
        picture = picture.quantize(palette=_tints(), dither=Image.Dither.NONE)
    stream = io.BytesIO()
    picture.save(stream, format="png", dpi=(dpi, dpi))
    return stream.getvalue()


def embedded(figure: Figure, alt: str) -> Picture:
    """A figure as a picture inside a page, with what it shows in words."""
    return Picture(base64.b64encode(png(figure, DPI, small=True)).decode(), alt)


@cache
def _tints() -> Image.Image:
    """A palette of every colour mixed with white: what was chosen stays exact, unlike in one fitted."""
    paints = np.array([to_rgb(paint) for paint in (*APART, INK, FADED, FRONT)])
    strengths = np.linspace(0, 1, TINTS)[:, None, None]
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * (1 - strengths * (1 - paints))).round().astype(int).ravel().tolist())
    return palette
