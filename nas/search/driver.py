"""The driver: asks the study, hands jobs to the executor, tells the study what came of them."""

import time
from collections.abc import Callable
from typing import Any

from nas.results.run_directory import RunDirectory
from nas.search.executors import Completed, Executor, Failed, Job, Measured, Progress, Report
from nas.search.study import Study

POLL_SECONDS = 0.25
TABLES_EVERY_SECONDS = 2.0
EXHAUSTED = "every network of the space has had its trials"


def drive(
    study: Study,
    executor: Executor,
    pruner: Any,
    run: RunDirectory,
    trials: int,
    observe: Callable[[Report | None], None],
    interrupted: Callable[[], bool],
) -> str | None:
    """Run a study until it has its trials or is interrupted; why it ended before that, if it did.

    Args:
        study: The study; trials that it has left unfinished run first.
        executor: Where trials run.
        pruner: Stops trials early.
        run: Where results are kept.
        trials: Number of trials that the study shall have.
        observe: Called with every report, and with None when nothing has happened for a while.
        interrupted: Asked all the time; once it is true, running trials are put back.
    """
    left_over = study.unfinished()
    exhausted = False
    running: set[int] = set()
    written = time.monotonic()
    try:
        while not interrupted():
            while executor.room and (left_over or (len(study.records) < trials and not exhausted)):
                record = study.restart(left_over.pop(0)) if left_over else study.ask()
                if record is None:
                    exhausted = True
                    break
                executor.submit(
                    Job(record.number, record.seed, record.architecture, run.trial(record.number))
                )
                running.add(record.number)
            if not running:
                break
            reports = executor.wait(POLL_SECONDS)
            for report in reports:
                _take(study, report, running, run)
                if isinstance(report, Progress):
                    stops = pruner.stops(study.records[report.number], study.history)
                    executor.answer(report.number, stops)
                observe(report)
            if not reports:
                observe(None)
            if time.monotonic() - written > TABLES_EVERY_SECONDS:
                run.write_tables(study.history)
                written = time.monotonic()
    finally:
        executor.close()
        for number in sorted(running):
            study.release(number)
        keep_front_weights(study, run)  # a worker may have written its own after the last report
        run.write_tables(study.history)
    return EXHAUSTED if exhausted else None


def _take(study: Study, report: Report, running: set[int], run: RunDirectory) -> None:
    match report:
        case Completed(number, values, seconds, wiring):
            study.tell(number, values, seconds, wiring)
            running.discard(number)
            keep_front_weights(study, run)
        case Failed(number, error, seconds):
            study.fail(number, error, seconds)
            running.discard(number)
        case Measured(number, values):
            study.measure(number, values)
        case Progress(number, metrics):
            study.progress(number, metrics)


def keep_front_weights(study: Study, run: RunDirectory) -> None:
    """Only members of the front keep their weights."""
    front = {record.number for record in study.history.front()}
    for folder in (run.path / "trials").glob("*/weights.safetensors"):
        if int(folder.parent.name) not in front:
            folder.unlink()
