"""What a person, or a program, sees while the search runs, and at its end."""

from typing import Protocol

from nas.results.run_directory import RunDirectory
from nas.search.display._course import Course
from nas.search.executors import Report
from nas.search.study import Study

__all__ = ["Display", "make_display"]


class Display(Protocol):
    """Shows a search. Used as a context while trials run."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *error: object) -> None: ...

    def observe(self, report: Report | None) -> None:
        """Show what has happened; None when nothing has for a while."""
        ...

    def conclude(self, run: RunDirectory, reason: str | None) -> None:
        """Show the result, and why the search ended before it had its trials, if it did."""
        ...


def make_display(mode: str | None, study: Study, trials: int) -> Display:
    """The display of a mode.

    Args:
        mode: `json` prints an object per line, `quiet` nothing at all; None is live on a terminal, and a
            line per trial elsewhere.
        study: The study to show.
        trials: Number of trials that it shall have.
    """
    from rich.console import Console

    from nas.search.display._json import JsonDisplay
    from nas.search.display._live import LiveDisplay
    from nas.search.display._plain import PlainDisplay
    from nas.search.display._quiet import QuietDisplay

    console, course = Console(), Course(study, trials)
    if mode == "quiet":
        return QuietDisplay()
    if mode == "json":
        return JsonDisplay(course)
    return LiveDisplay(course, console) if console.is_terminal else PlainDisplay(course, console)
