"""What a person sees while the search runs, and at its end."""

import time
from collections import Counter
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from nas.results.figures import figure
from nas.results.records import COMPLETE, FAILED, PRUNED, REJECTED, RUNNING, History, Record
from nas.results.remarks import remarks
from nas.results.run_directory import LOGGED, RunDirectory
from nas.search.executors import Completed, Failed, Report
from nas.search.executors import Progress as EpochDone
from nas.search.study import Study

FRONT_ROWS = 12


class Display:
    """Live progress on a terminal, one line per finished trial elsewhere.

    Args:
        study: The study to show.
        trials: Number of trials that it shall have.
        console: Where to print.
    """

    def __init__(self, study: Study, trials: int, console: Console) -> None:
        self.study = study
        self.trials = trials
        self.console = console
        self.epochs: dict[int, int] = {}
        self.started = time.monotonic()
        self.finished_before = self._done()
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.update(Text(), refresh=True)
            self.live.stop()

    def observe(self, report: Report | None) -> None:
        """Take note of what has happened."""
        match report:
            case EpochDone(number, metrics):
                self.epochs[number] = int(metrics["epoch"])
            case Failed(number, error) if not self.study.records[number].finished:
                self.epochs.pop(number, None)
                _say(self.console, f"trial {number} is tried again after {error.kind}: {error.message}")
            case Completed(number) | Failed(number):
                self.epochs.pop(number, None)
                line = _line(self.study.records[number], self.study.history)
                if isinstance(report, Failed) or not self.live:
                    self.console.print(
                        f"{self._counts()}  {line}", highlight=False, soft_wrap=True, markup=False
                    )
        if self.live:
            self.live.update(self._render(), refresh=True)

    def _render(self) -> RenderableType:
        done = self._done()
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(self._left(done))
        )
        bar.add_task("trials", total=self.trials, completed=done)
        running = ", ".join(
            f"{record.number} (epoch {self.epochs.get(record.number, 0)})"
            for record in self.study.records
            if record.state == RUNNING
        )
        states = Counter(record.state for record in self.study.records)
        status = f"running {running or '–'}   complete {states[COMPLETE]}   failed {states[FAILED]}"
        for state in (PRUNED, REJECTED):
            if states[state]:
                status += f"   {state} {states[state]}"
        return Group(bar, Text(status), front_table(self.study.history, FRONT_ROWS))

    def _counts(self) -> str:
        done = self._done()
        return f"[{done}/{self.trials}] {self._left(done)}"

    def _done(self) -> int:
        """Trials that have ended and that count."""
        return sum(record.finished and record.state != REJECTED for record in self.study.records)

    def _left(self, done: int) -> str:
        fresh = done - self.finished_before
        if not fresh:
            return "time left unknown"
        seconds = (time.monotonic() - self.started) / fresh * max(0, self.trials - done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"


def make_display(study: Study, trials: int) -> Display:
    """The display for this terminal, or for a file or pipe."""
    return Display(study, trials, Console())


def front_table(history: History, rows: int | None = None) -> Table:
    """The front as a table, smallest last objective first; the middle is left out beyond `rows`."""
    names = [*history.objectives, *(name for name in LOGGED if name not in history.objectives)]
    table = Table(title=f"front of {sum(r.state == COMPLETE for r in history.records)} complete trials")
    for heading in ("trial", *names):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("connector", "fusion", "head"):
        table.add_column(heading, no_wrap=True)
    members = history.front()
    for record in members[:rows]:
        parts = [" ".join(record.architecture[slot]) for slot in ("connector", "fusion", "head")]
        table.add_row(str(record.number), *(figure(record.values.get(name)) for name in names), *parts)
    if rows and len(members) > rows:
        table.caption = f"and {len(members) - rows} more"
    return table


def show_front(history: History, run: RunDirectory) -> None:
    """Print the front and where to find everything."""
    console = Console()
    wide = Console(width=max(console.width, 110)) if not console.is_terminal else console
    wide.print(front_table(history))
    for state in (FAILED, PRUNED, REJECTED):
        records = [record for record in history.records if record.state == state]
        if records:
            _say(console, f"{len(records)} {state}; the last: {_line(records[-1], history)}")
    for remark in remarks(history):
        _say(console, remark)
    for name in ("pareto.png", "pareto.csv", "report.html"):
        _say(console, f"  {run.path / name}")
    _say(console, f"Look at every trial with\n  python -m nas.dashboard {run.path}")


def _say(console: Console, text: str) -> None:
    """Print text as it is: paths and messages are neither markup nor to be broken into lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _line(record: Record, history: History) -> str:
    if record.failure:
        return f"trial {record.number} {record.state} ({record.failure[0]}): {record.failure[1]}"
    values = "  ".join(f"{name} {figure(record.values[name])}" for name in history.objectives)
    member = "  *front*" if record.number in {member.number for member in history.front()} else ""
    return f"trial {record.number}  {values}  {record.seconds:.1f} s{member}"
