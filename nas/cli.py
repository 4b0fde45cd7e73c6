"""What all commands share: arguments that fail in one line, and exit codes."""

import argparse
import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from nas.errors import RequestError
from nas.registry import is_plugin

DONE, OUR_FAILURE, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

# What the system refuses, and what to do.
RIGHTS = "get the right to it, or choose another file or folder"
ROOM = "make room, or choose another file or folder"
PLACE = "choose another file or folder"
REFUSALS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), RIGHTS),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ROOM),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), PLACE),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise RequestError instead of printing the usage and leaving."""
        raise RequestError(f"{message}; see {self.prog} --help")


def positive(text: str) -> int:
    """A whole number of at least 1, for `add_argument(type=positive)`."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number of at least 0, for `add_argument(type=natural)`."""
    return _whole(text, 0)


def _whole(text: str, low: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if number < low:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
    return number


def run_command(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command and turn its errors into exit codes.

    Returns:
        0 done; 2 the request was wrong; 130 interrupted; 1 a failure of ours, with its traceback.
    """
    try:
        return command(argv)
    except RequestError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_REQUEST
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return DONE
    except OSError as error:
        if error.errno not in REFUSALS:
            return _unexpected(error)
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror}; {REFUSALS[error.errno]}", file=sys.stderr)
        return WRONG_REQUEST
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Say of an exception that nobody has expected whose it is: a plugin's, or ours."""
    frames = traceback.walk_tb(error.__traceback__)
    theirs = [(frame, line) for frame, line in frames if is_plugin(str(frame.f_globals.get("__name__")))]
    if theirs:
        frame, line = theirs[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        place = f"{frame.f_code.co_filename}:{line}: the plugin has failed"
        print(f"error: {place}: {what}; mend it, and continue a search with --resume", file=sys.stderr)
        return WRONG_REQUEST
    traceback.print_exc()
    print("This is a failure of nas, not of your request; please report it.", file=sys.stderr)
    return OUR_FAILURE
