"""`auto` on a terminal: a picture of the search that is always current."""

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from nas.results.records import COMPLETE, FAILED, PRUNED, REJECTED
from nas.results.run_directory import RunDirectory
from nas.search.display._course import Course
from nas.search.display._words import ending, front_table, pace, show_result
from nas.search.executors import Report

FRONT_ROWS = 12
FAILURES = 3


class LiveDisplay:
    """Progress, pace, states, hypervolume, the front and the last failures.

    Args:
        course: The search.
        console: The terminal.
    """

    def __init__(self, course: Course, console: Console) -> None:
        self.course = course
        self.console = console
        self.live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "LiveDisplay":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.update(Text(), refresh=True)
        self.live.stop()

    def observe(self, report: Report | None) -> None:
        """Draw the picture anew."""
        self.course.take(report)
        self.live.update(self.render(), refresh=True)

    def conclude(self, run: RunDirectory, reason: str | None) -> None:
        """Print the front and where to find everything."""
        show_result(self.course.history, run, reason, self.console)

    def render(self) -> RenderableType:
        """The picture."""
        course, history = self.course, self.course.history
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(pace(course))
        )
        bar.add_task("trials", total=course.trials, completed=course.done)
        failures = [record for record in history.records if record.state == FAILED][-FAILURES:]
        told = [Text(ending(record, history), style="red", overflow="ellipsis") for record in failures]
        return Group(bar, Text(self._status()), front_table(history, FRONT_ROWS), *told)

    def _status(self) -> str:
        states = self.course.states
        running = ", ".join(f"{number} (epoch {epoch})" for number, epoch in self.course.running)
        parts = [f"running {running or '–'}", f"complete {states[COMPLETE]}", f"failed {states[FAILED]}"]
        parts += [f"{state} {states[state]}" for state in (PRUNED, REJECTED) if states[state]]
        volume = self.course.hypervolume
        return "   ".join([*parts, *([] if volume is None else [f"hypervolume {volume:.3f}"])])
