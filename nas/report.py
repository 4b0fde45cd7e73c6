"""`python -m nas.report RUN_DIR …`: make the report anew from what is stored, or compare several runs."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli import DONE, Parser, run_command
from nas.errors import RequestError

if TYPE_CHECKING:
    from nas.results.run_directory import RunDirectory


def _report(argv: Sequence[str] | None) -> int:
    parser = Parser(
        prog="python -m nas.report",
        description="Rebuild report.html, pareto.* and trials.csv of a run; of several runs, compare them.",
    )
    parser.add_argument(
        "run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="the run directory of a search"
    )
    parser.add_argument(
        "-o",
        type=Path,
        dest="output",
        metavar="PATH",
        help="the folder of the report (RUN_DIR), or the file of the comparison (compare.html)",
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write event files for TensorBoard instead")
    parser.add_argument(
        "--mlflow", metavar="URI", help="write the trials to an MLflow server or store instead"
    )
    arguments = parser.parse_args(argv)

    from nas.results.run_directory import RunDirectory

    runs = [RunDirectory(path) for path in arguments.run_dirs]
    if arguments.tensorboard or arguments.mlflow:
        return _hand_over(runs, arguments)
    if len(runs) > 1:
        from nas.results.comparison import write_comparison

        print(write_comparison(runs, arguments.output))
        return DONE
    if arguments.output and (arguments.output.suffix or arguments.output.is_file()):
        raise RequestError(f"-o {arguments.output}: the report of one run is several files; give a folder")
    [run] = runs
    if run.exists and not (arguments.output or run.writable):
        raise RequestError(f"{run.path} cannot be written; choose another folder with -o")
    from nas.results.report import write_report

    for file in write_report(run, arguments.output):
        print(file)
    return DONE


def _hand_over(runs: Sequence["RunDirectory"], arguments: Namespace) -> int:
    """Tell TensorBoard or MLflow of runs that are over."""
    from nas.registry import create
    from nas.results.loggers import replay
    from nas.results.stored import read_history

    for run in runs:
        history = read_history(run)
        if arguments.tensorboard:
            folder = Path(arguments.tensorboard)
            folder = folder / run.path.name if len(runs) > 1 else folder
            replay(create("logger", "tensorboard", folder=str(folder)), run, history)
            print(folder)
        if arguments.mlflow:
            replay(create("logger", "mlflow", uri=arguments.mlflow), run, history)
            print(arguments.mlflow)
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_report, argv)


if __name__ == "__main__":
    sys.exit(main())
