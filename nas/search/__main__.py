"""`python -m nas.search EXPERIMENT.yaml`: find a front of networks."""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli import DONE, INTERRUPTED, Parser, positive, run_command
from nas.errors import KeyPathError, RequestError, disk_is_full

if TYPE_CHECKING:
    import argparse

    from nas.results.records import History
    from nas.results.run_directory import RunDirectory
    from nas.search.executors import Report
    from nas.search.setup import Setup
    from nas.space import Architecture, SearchSpace


def _parser() -> Parser:
    parser = Parser(prog="python -m nas.search", description="Search multi-modal networks for a front.")
    parser.add_argument(
        "experiment", type=Path, metavar="EXPERIMENT.yaml", help="what to search, on which data"
    )
    parser.add_argument(
        "--trials", type=positive, metavar="N", help="number of trials, instead of search.trials"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="worker processes, instead of execution.workers"
    )
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="run directory; runs/<experiment name> if not given"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in the run directory")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the space and one architecture, train nothing"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_const", const="quiet", dest="display", help="show nothing")
    shown.add_argument(
        "--json", action="store_const", const="json", dest="display", help="show a JSON object per line"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="key.path=value",
        help="set one value of the experiment, such as search.seed=1; may be repeated",
    )
    return parser


def _search(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    # The driver's matrices are small, and threads that wait for each other would wait for busy workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    overrides = list(arguments.overrides)
    if arguments.trials:
        overrides.append(f"search.trials={arguments.trials}")
    if arguments.workers:
        overrides.append(f"execution.workers={arguments.workers}")

    from nas.search.setup import prepare

    setup = prepare(arguments.experiment, overrides)
    for warning in setup.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.dry_run:
        from nas.search.dry_run import show

        show(setup)
        return DONE
    return _run(setup, arguments)


def _run(setup: "Setup", arguments: "argparse.Namespace") -> int:
    from nas.modality import Preprocessing
    from nas.results.environment import environment
    from nas.results.run_directory import RunDirectory
    from nas.results.stored import open_storage

    experiment = setup.experiment
    run = RunDirectory(arguments.run_dir or Path("runs") / experiment.name)
    if experiment.search.storage:
        open_storage(experiment.search.storage).engine.dispose()  # before anything is written
    _check_run(run, setup, arguments.resume)
    with run.lock():
        if arguments.resume:
            run.mend_events()
            run.write_experiment(experiment)
        else:
            dataset = setup.dataset
            notes = getattr(dataset, "notes", ())
            preprocessing = Preprocessing.of(next(iter(experiment.data)), dataset)
            run.create(experiment, dataset.modalities, dataset.task, notes, preprocessing)
        run.add_session(environment(_command(arguments, arguments.resume)))
        return _drive(setup, run, arguments.display, shlex.join(_command(arguments, resume=True)))


def _command(arguments: "argparse.Namespace", resume: bool) -> list[str]:
    """The words that start or continue this search, with everything that was asked of it."""
    words = ["python", "-m", "nas.search", str(arguments.experiment), *(["--resume"] if resume else [])]
    for option, value in (("--trials", arguments.trials), ("--workers", arguments.workers)):
        words += [option, str(value)] if value else []
    words += ["--run-dir", str(arguments.run_dir)] if arguments.run_dir else []
    words += [f"--{arguments.display}"] if arguments.display else []
    for text in arguments.overrides:
        words += ["--set", text]
    return words


def _check_run(run: "RunDirectory", setup: "Setup", resume: bool) -> None:
    from yaml import YAMLError

    if not run.exists:
        if resume:
            raise RequestError(f"there is nothing to resume in {run.path}; leave --resume out to start")
        return
    try:
        stored = run.experiment()
    except (ValueError, YAMLError):
        raise RequestError(
            f"{run.experiment_file} is not that of a run; choose another folder with --run-dir"
        ) from None
    difference = stored.difference(setup.experiment)
    if difference is not None:
        raise RequestError(
            f"{run.path} holds a run of another experiment: {difference}; "
            "choose another folder with --run-dir"
        )
    if not resume:
        raise RequestError(
            f"{run.path} holds a run of this experiment already; continue it with --resume, "
            "or choose another folder with --run-dir"
        )
    if stored.space != setup.experiment.space:
        _check_space(run, setup)


def _check_space(run: "RunDirectory", setup: "Setup") -> None:
    """A space that has changed since may go on from the trials that still lie in it."""
    from nas.results.stored import read_history

    records = read_history(run).records
    inside = sum(record.architecture in setup.space for record in records)
    if records and not inside:
        raise RequestError(
            f"the space has changed so that none of the {len(records)} trials in {run.path} lies in it "
            f"(trial 0: {_why_outside(setup.space, records[0].architecture)}); "
            "choose another folder with --run-dir"
        )
    change = f"the space has changed; {inside} of {len(records)} trials lie in it and guide the search"
    print(f"warning: {change}", file=sys.stderr)


def _why_outside(space: "SearchSpace", architecture: "Architecture") -> str:
    try:
        space.decisions(architecture)
    except ValueError as error:
        return str(error)
    return "it lies in it"


def _drive(setup: "Setup", run: "RunDirectory", shown: str | None, command: str) -> int:
    from nas.results.report import write_report
    from nas.search.claims import Shared
    from nas.search.display import make_display
    from nas.search.driver import drive, keep_front_weights
    from nas.search.executors import open_executor
    from nas.search.logbook import Logbook
    from nas.search.study import Study

    experiment, execution = setup.experiment, setup.experiment.execution
    url, lease = experiment.search.storage, experiment.search.lease
    claims = Shared(url, experiment.name, lease) if url else None
    study = Study(
        run, experiment.name, setup.proposals, experiment.objectives, experiment.constraints, claims
    )
    stop = _Interruption()
    trials, reason = max(experiment.search.trials, study.budgeted), None
    display = make_display(shown, study, trials)
    try:
        if study.unfinished() or study.budgeted < trials or study.proposals.last(study.history):
            executor = open_executor(experiment, setup.dataset, run.path)
            if executor.notice and shown is None:
                print(executor.notice)
            with Logbook(study, setup.loggers, experiment) as logbook, display, stop:

                def observe(report: "Report | None") -> None:
                    display.observe(report)
                    logbook.observe(report)

                reason = drive(
                    study,
                    executor,
                    setup.pruner,
                    run,
                    trials,
                    observe,
                    lambda: stop.asked,
                    execution.retries.model_dump(),
                    experiment.search.stop,
                )
        keep_front_weights(study, run)
        write_report(run)
        display.conclude(run, reason)
    except KeyPathError as error:
        raise setup.document.error(error) from None
    except Exception as error:
        if not disk_is_full(error):
            raise
        return _interrupted(f"The disk of {run.path}, or of a worker, is full", command)
    finally:
        study.close()
    if stop.asked:
        return _interrupted("Interrupted", command)
    _check_result(study.history, run)
    return DONE


def _check_result(history: "History", run: "RunDirectory") -> None:
    """A search without a complete trial has not done what it was asked for."""
    from nas.results.failures import no_result

    if why := no_result(history):
        report = run.path / "report.html"
        raise RequestError(f"{why}; {report} says more. Mend it, and search in another folder (--run-dir)")


def _interrupted(why: str, command: str) -> int:
    print(f"\n{why}; nothing that had finished is lost. Go on with\n  {command}", file=sys.stderr)
    return INTERRUPTED


class _Interruption:
    """Ctrl-C and SIGTERM ask the search to end; a second one ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    return run_command(_search, argv)


if __name__ == "__main__":
    sys.exit(main())
