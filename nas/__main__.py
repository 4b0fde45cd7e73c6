"""`nas COMMAND …`, the same as `python -m nas.COMMAND …`."""

import sys
from collections.abc import Sequence
from importlib import import_module

from nas.cli import run_command
from nas.errors import RequestError, near_misses

COMMANDS = {
    "search": "nas.search.__main__",
    "report": "nas.report",
    "retrain": "nas.retrain",
    "export": "nas.export",
    "predict": "nas.predict",
    "dashboard": "nas.dashboard",
    "components": "nas.components",
}


def _dispatch(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: nas {{{','.join(COMMANDS)}}} …\n\n`nas COMMAND --help` tells more of each.")
        return 0
    if arguments[0] not in COMMANDS:
        raise RequestError(f"{arguments[0]!r} is not a command; {near_misses(arguments[0], COMMANDS)}")
    command = import_module(COMMANDS[arguments[0]])
    code: int = command.main(arguments[1:])
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    return run_command(_dispatch, argv)


if __name__ == "__main__":
    sys.exit(main())
