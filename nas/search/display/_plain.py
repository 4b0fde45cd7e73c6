"""`plain`: a line per finished trial, for files and pipes."""

from rich.console import Console

from nas.results.run_directory import RunDirectory
from nas.search.display._course import Course
from nas.search.display._words import ending, pace, say, show_result
from nas.search.executors import Failed, Report


class PlainDisplay:
    """A line for every trial that has ended, and the front at the end.

    Args:
        course: The search.
        console: Where to print.
    """

    def __init__(self, course: Course, console: Console) -> None:
        self.course = course
        self.console = console

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, *error: object) -> None: ...

    def observe(self, report: Report | None) -> None:
        """Print how a trial has ended, or why it is tried again."""
        self.course.take(report)
        record = self.course.ended(report)
        if record is not None:
            counted = f"[{self.course.done}/{self.course.trials}] {pace(self.course)}"
            say(self.console, f"{counted}  {ending(record, self.course.history)}")
        elif isinstance(report, Failed):
            reason = f"{report.error.kind}: {report.error.message}"
            say(self.console, f"trial {report.number} is tried again after {reason}")

    def conclude(self, run: RunDirectory, reason: str | None) -> None:
        """Print the front and where to find everything."""
        show_result(self.course.history, run, reason, self.console)
