"""`python -m nas.retrain RUN_DIR --trial N`: train from scratch, measure on the test split."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli import DONE, Parser, natural, positive, run_command
from nas.errors import RequestError

if TYPE_CHECKING:
    import argparse

    from nas.errors import TrialError
    from nas.results.retrained import Retrained, Training
    from nas.results.run_directory import RunDirectory
    from nas.results.subjects import Subject


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nas.retrain",
        description="Train networks of a run from scratch, several times; measure them on the test split.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run directory of a search")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--trial", type=natural, nargs="+", metavar="N", help="numbers of trials")
    which.add_argument("--front", action="store_true", help="all members of the front")
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="K", help="trainings of each network (3)"
    )
    parser.add_argument("--epochs", type=positive, metavar="E", help="epochs, instead of the experiment's")
    parser.add_argument(
        "--on-validation",
        action="store_true",
        help="train on the validation split as well as on the training split",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also each modality alone and late fusion, with the encoders of the best networks that use them",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="also the best member of another run directory, or the one network of an experiment file",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        dest="compiles",
        help="compile networks for their training (torch.compile; needs a C++ compiler)",
    )
    parser.add_argument("--workers", type=positive, default=1, metavar="W", help="processes (1)")
    return parser


def _retrain(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from nas.results.report import write_report
    from nas.results.retrain import Recipe, retrain
    from nas.results.retrained import agreement
    from nas.results.run_directory import RunDirectory

    run = RunDirectory(arguments.run_dir)
    if run.exists and not run.writable:
        raise RequestError(
            f"{run.path} cannot be written, where trainings are kept; retrain in a copy of it "
            f"({shlex.join(['cp', '-r', str(run.path), 'COPY'])})"
        )
    subjects = _subjects(run, arguments)
    recipe = Recipe(arguments.seeds, arguments.epochs, arguments.on_validation, arguments.compiles)
    told = _Told(len(subjects) * recipe.seeds)
    results = retrain(run, subjects, recipe, arguments.workers, told.training, told.failure)
    if not results:
        raise RequestError(told.failures[0])
    _show(run, results)
    if found := agreement(run, results):
        print(found)
    for result in results:
        print(result.subject.file(run))
    write_report(run)
    if number := next((result.subject.trial for result in results if result.subject.trial is not None), None):
        print(f"Take one away: python -m nas.export {run.path} --trial {number} --retrained -o PATH")
    return DONE


def _subjects(run: "RunDirectory", arguments: "argparse.Namespace") -> "list[Subject]":
    from nas.results import subjects

    chosen = subjects.front(run) if arguments.front else subjects.trials(run, arguments.trial)
    chosen += subjects.baselines(run) if arguments.baselines else []
    chosen += [subjects.beside(run, path) for path in arguments.beside]
    return list({subject.file(run): subject for subject in chosen}.values())


class _Told:
    """Prints what happens, a line per training."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.failures: list[str] = []

    def training(self, subject: "Subject", training: "Training") -> None:
        from nas.results.figures import figure

        self.done += 1
        values = "  ".join(f"{name} {figure(value)}" for name, value in training.test.items())
        print(f"[{self.done}/{self.total}] {subject.label}  test: {values}", flush=True)
        if reason := (training.understanding or {}).get("failure"):
            print(f"warning: what {subject.label} rests on is not known: {reason}", file=sys.stderr)

    def failure(self, subject: "Subject", error: "TrialError") -> None:
        self.done += 1
        self.failures.append(f"{subject.label} cannot be retrained: {error.message}")
        print(f"[{self.done}/{self.total}] {self.failures[-1]}", file=sys.stderr, flush=True)


def _show(run: "RunDirectory", results: "Sequence[Retrained]") -> None:
    from rich.console import Console
    from rich.table import Table

    from nas.results.figures import add_columns, with_deviation

    console = Console()
    names = list(results[0].summary())
    seeds = {len(result.trainings) for result in results}
    several = "seed" if seeds == {1} else "seeds"
    title = f"test split, {' or '.join(map(str, sorted(seeds)))} {several}, {results[0].epochs} epochs"
    table = Table(title=title)
    table.add_column("network", no_wrap=True)
    rows = [[with_deviation(*summary) for summary in result.summary().values()] for result in results]
    add_columns(table, names, rows)
    for result, cells in zip(results, rows, strict=True):
        table.add_row(result.subject.label, *cells)
    wide = console if console.is_terminal else Console(width=max(console.width, 110))
    wide.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_retrain, argv)


if __name__ == "__main__":
    sys.exit(main())
