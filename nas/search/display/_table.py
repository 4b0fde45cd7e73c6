"""A table for screens of any width: what it must not cut stays whole, and the last columns give way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.table import Table

BESIDE = 3  # characters between the contents of two columns
HEADING, WORD = 5, 6  # characters that are left of a heading and of a word at least


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        heading: Its heading, which breaks at underscores.
        cells: What stands below.
        number: Whether those are numbers, which are not cut.
        kept: Whether it stays on the narrowest screen.
    """

    heading: str
    cells: Sequence[str]
    number: bool = False
    kept: bool = False

    @property
    def lines(self) -> Sequence[str]:
        """Those of the heading."""
        return self.heading.replace("_", "_\n").splitlines()

    @property
    def whole(self) -> int:
        """Characters that it has."""
        return max(map(len, (*self.lines, *self.cells)))

    @property
    def least(self) -> int:
        """Characters that it needs."""
        if not self.number:
            return min(self.whole, WORD)
        return max(map(len, (*(line[:HEADING] for line in self.lines), *self.cells)))


@dataclass(frozen=True)
class Fitting:
    """A table that cuts words and headings where the screen is narrow, and then leaves out its last columns.

    Args:
        title: What it shows.
        columns: The columns.
        caption: What stands below.
    """

    title: str
    columns: Sequence[Column]
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        shown = self._shown(options.max_width)
        left_out = [column.heading for column in self.columns if column not in shown]
        captions = [self.caption, f"too narrow for {', '.join(left_out)}" if left_out else ""]
        table = Table(title=self.title, caption="; ".join(filter(None, captions)))
        widths = _widths(shown, options.max_width)
        for column, width in zip(shown, widths, strict=True):
            justify = "right" if column.number else "left"
            heading = "\n".join(column.lines)
            table.add_column(heading, justify=justify, no_wrap=True, width=width)  # type: ignore[arg-type]
        for row in zip(*(column.cells for column in shown), strict=True):
            table.add_row(*row)
        yield table

    def _shown(self, width: int) -> list[Column]:
        """The columns for which there is room."""
        shown = list(self.columns)
        for column in reversed(self.columns):
            if _total([one.least for one in shown]) > width and not column.kept:
                shown.remove(column)
        return shown


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + BESIDE * len(widths) + 1


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """As whole as they can be; what is cut most gives way first."""
    widths, least = [column.whole for column in columns], [column.least for column in columns]
    spare = [whole - need for whole, need in zip(widths, least, strict=True)]
    while _total(widths) > width and any(spare):
        place = spare.index(max(spare))
        widths[place] -= 1
        spare[place] -= 1
    return widths
