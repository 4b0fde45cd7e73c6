"""Errors that are meant for the person at the keyboard."""

import errno
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

SHOWN = 3  # bad rows, in a message


class RequestError(Exception):
    """The request was wrong: one clear line says what, where, and what to do (exit code 2)."""


class KeyPathError(RequestError):
    """Something is wrong at one place of an experiment or a space.

    Args:
        path: Keys that lead to the place, from the top of the data.
        message: What was given and what is allowed.
    """

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.path = path
        self.message = message


class TrialError(Exception):
    """A trial could not be finished; `kind` names the failure, the message says why.

    Args:
        kind: A failure: `error`, `nan`, `out_of_memory`, `time_limit`, `lost_worker`; another end without
            a result: `constraint`, `pruned`; or `disk_full`, which ends the search, not the trial.
        message: What happened, for a person.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, self.message)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk is full."""
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def near_misses(given: object, allowed: Iterable[str]) -> str:
    """The tail of an error message: the near misses of `given`, then everything allowed."""
    names = sorted(set(map(str, allowed)))
    close = get_close_matches(str(given), names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}Allowed: {', '.join(names) if names else 'nothing'}."


def first_rows(bad: Mapping[int, str]) -> str:
    """The first of some bad rows, counted from 1, with what is wrong with each; how many more there are."""
    first = "; ".join(f"row {row + 1}, {bad[row]}" for row in sorted(bad)[:SHOWN])
    return first + (f"; {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
