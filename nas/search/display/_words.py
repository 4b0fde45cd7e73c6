"""A search in words and tables."""

from rich.console import Console

from nas.results.figures import figure
from nas.results.records import COMPLETE, FAILED, PRUNED, REJECTED, History, Record
from nas.results.remarks import remarks
from nas.results.run_directory import LOGGED, RunDirectory
from nas.results.selections import IN_SHORT, in_short
from nas.search.display._course import Course
from nas.search.display._table import Column, Fitting

FILES = ("pareto.png", "pareto.csv", "report.html")


def say(console: Console, text: str) -> None:
    """Print text as it is: paths and messages are neither markup nor to be broken into lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def ending(record: Record, history: History) -> str:
    """How a trial has ended."""
    if record.failure:
        return f"trial {record.number} {record.state} ({record.failure[0]}): {record.failure[1]}"
    values = "  ".join(f"{name} {figure(record.values[name])}" for name in history.objectives)
    member = "  *front*" if record.number in {member.number for member in history.front()} else ""
    return f"trial {record.number}  {values}  {record.seconds:.1f} s{member}"


def pace(course: Course) -> str:
    """Throughput and time left."""
    seconds, left = course.seconds_per_trial, course.seconds_left
    if seconds is None or left is None:
        return "time left unknown"
    return f"{60 / seconds:.3g} trials a minute, {duration(left)} left"


def duration(seconds: float) -> str:
    """Seconds in the unit in which a person thinks of them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def front_table(history: History, rows: int | None = None) -> Fitting:
    """The front as a table, smallest last objective first; the middle is left out beyond `rows`.

    Where the screen is narrow components give way, then what is logged beside the objectives.
    """
    members = history.front()
    shown, objectives = members[:rows], list(history.objectives)
    names = [*objectives, *(name for name in LOGGED if name not in objectives)]
    columns = [Column("trial", [str(member.number) for member in shown], number=True, kept=True)]
    for name in names:
        cells = [figure(member.values.get(name)) for member in shown]
        columns.append(Column(name, cells, number=True, kept=name in objectives))
    for part in IN_SHORT:
        columns.append(Column(part, [in_short(member.architecture)[part] for member in shown]))
    complete = sum(record.state == COMPLETE for record in history.records)
    more = f"and {len(members) - rows} more" if rows and len(members) > rows else ""
    return Fitting(f"front of {complete} complete trials", columns, more)


def show_result(history: History, run: RunDirectory, reason: str | None, console: Console) -> None:
    """Print the front and where to find everything."""
    wide = Console(width=max(console.width, 110)) if not console.is_terminal else console
    wide.print(front_table(history))
    for state in (FAILED, PRUNED, REJECTED):
        records = [record for record in history.records if record.state == state]
        if records:
            say(console, f"{len(records)} {state}; the last: {ending(records[-1], history)}")
    for remark in remarks(history):
        say(console, remark)
    for name in FILES:
        say(console, f"  {run.path / name}")
    say(console, f"Look at every trial with\n  python -m nas.dashboard {run.path}")
    if reason:
        say(console, f"\nThe search ended after {len(history.records)} trials: {reason}.")
