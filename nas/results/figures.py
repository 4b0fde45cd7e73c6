"""Numbers as a person reads them."""

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
