"""`python -m nas.report RUN_DIR`: make the report, the front and the tables anew from what is stored."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nas.cli import DONE, Parser, run_command


def _report(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m nas.report", description="Rebuild report.html, pareto.* and trials.csv.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run directory of a search")
    arguments = parser.parse_args(argv)

    from nas.results.report import write_report
    from nas.results.run_directory import RunDirectory

    run = RunDirectory(arguments.run_dir)
    write_report(run)
    for name in ("report.html", "pareto.png", "pareto.csv", "pareto.json", "trials.csv"):
        print(run.path / name)
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_report, argv)


if __name__ == "__main__":
    sys.exit(main())
