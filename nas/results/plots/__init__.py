"""Pictures of a run, drawn with matplotlib."""

from nas.results.plots._canvas import Picture, embedded, png
from nas.results.plots.courses import course_picture
from nas.results.plots.curves import curve_picture
from nas.results.plots.front import front_picture
from nas.results.plots.wiring import circle_picture, degree_picture, mask_picture, wiring_picture

__all__ = [
    "Picture",
    "circle_picture",
    "course_picture",
    "curve_picture",
    "degree_picture",
    "embedded",
    "front_picture",
    "mask_picture",
    "png",
    "wiring_picture",
]
