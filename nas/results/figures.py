"""Numbers as a person reads them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NOTHING = "–"


def figure(value: float | None) -> str:
    """Whole numbers with separators, shares with four digits, a dash for nothing."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"


def with_deviation(mean: float | None, deviation: float) -> str:
    """A mean with its deviation, or by how much it may be off; alone where that is zero."""
    if not deviation:
        return figure(mean)
    return f"{figure(mean)} ± {f'{deviation:.2g}' if deviation < 1 else figure(deviation)}"


def add_columns(table: "Table", headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns for figures, which stay whole where the screen is narrow; headings break at underscores."""
    for place, heading in enumerate(headings):
        whole = max((len(row[place]) for row in rows), default=1)
        table.add_column(heading.replace("_", "_\n"), justify="right", no_wrap=True, min_width=whole)
