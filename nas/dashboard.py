"""`python -m nas.dashboard RUN_DIR`: the Optuna dashboard on a run, reachable from this machine alone."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli import DONE, Parser, positive, run_command
from nas.errors import RequestError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from nas.results.run_directory import RunDirectory

HOST = "127.0.0.1"


def _dashboard(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m nas.dashboard", description="Open the Optuna dashboard on a run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run directory of a search")
    parser.add_argument("--port", type=positive, default=8080, help="port on this machine (8080)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    arguments = parser.parse_args(argv)

    from nas.results.run_directory import RunDirectory

    run = RunDirectory(arguments.run_dir)
    run.experiment()
    if not run.has_study:
        raise RequestError(f"{run.path} has no study.db yet; start the search first")
    from nas.results.stored import open_storage

    storage = open_storage(run.storage_url)
    _check_port(arguments.port)
    address = f"http://{HOST}:{arguments.port}/dashboard"
    print(f"{address}   (Ctrl-C ends it)", flush=True)
    if not arguments.no_browser:
        import webbrowser

        webbrowser.open(address)
    _serve(run, storage, arguments.port)
    return DONE


def _serve(run: "RunDirectory", storage: "BaseStorage", port: int) -> None:
    import logging

    from optuna_dashboard import run_server

    from nas.results.artifacts import RunArtifacts

    logging.getLogger("optuna").setLevel(logging.WARNING)
    with suppress(KeyboardInterrupt):
        run_server(storage, host=HOST, port=port, artifact_store=RunArtifacts(run))


def _check_port(port: int) -> None:
    import socket

    try:
        with socket.create_server((HOST, port)):
            pass
    except (OSError, OverflowError) as error:
        raise RequestError(f"port {port} cannot be used ({error}); choose another with --port") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_dashboard, argv)


if __name__ == "__main__":
    sys.exit(main())
