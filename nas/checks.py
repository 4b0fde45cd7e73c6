"""The checks of hyper-parameters: what is given is wrong, and the error says what to pass."""

from numbers import Integral

import numpy as np


def check_even(name: str, value: object) -> None:
    """Raise ValueError unless `value` is an even whole number of at least 2."""
    if not is_int(value) or value < 2 or value % 2:  # type: ignore[operator]
        raise ValueError(f"{name} must be an even whole number of at least 2, not {value!r}")


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    check_whole(name, value, 1)


def check_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if not is_int(value) or value < least:  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_share(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a number of the interval [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number between 0 and 1, not {value!r}")


def check_not_negative(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if not _is_number(value) or not 0 <= value < float("inf"):  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of at least 0, not {value!r}")


def _is_number(value: object) -> bool:
    return is_int(value) or isinstance(value, float | np.floating)


def is_int(value: object) -> bool:
    """Whether `value` is a whole number, of Python or of numpy."""
    return isinstance(value, Integral) and not isinstance(value, bool)
