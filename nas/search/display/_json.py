"""`json`: an object per line, for programs."""

import json
import sys
from typing import Any

from nas.results.records import Record
from nas.results.run_directory import RunDirectory
from nas.search.display._course import Course
from nas.search.display._words import FILES
from nas.search.executors import Failed, Report


class JsonDisplay:
    """Prints `{"event": "ended" | "retried" | "finished", …}` for every trial, and at the end.

    Args:
        course: The search.
    """

    def __init__(self, course: Course) -> None:
        self.course = course

    def __enter__(self) -> "JsonDisplay":
        return self

    def __exit__(self, *error: object) -> None: ...

    def observe(self, report: Report | None) -> None:
        """Print how a trial has ended, or why it is tried again."""
        self.course.take(report)
        record = self.course.ended(report)
        if record is not None:
            _print(event="ended", **_trial(record), **self._course())
        elif isinstance(report, Failed):
            failure = {"kind": report.error.kind, "message": report.error.message}
            _print(event="retried", trial=report.number, failure=failure)

    def conclude(self, run: RunDirectory, reason: str | None) -> None:
        """Print the front and where to find everything."""
        front = [
            {"trial": member.number, "values": dict(member.values)} for member in self.course.history.front()
        ]
        files = {name: str(run.path / name) for name in FILES}
        _print(event="finished", reason=reason, front=front, files=files, **self._course())

    def _course(self) -> dict[str, Any]:
        course = self.course
        return {
            "done": course.done,
            "trials": course.trials,
            "states": dict(course.states),
            "hypervolume": course.hypervolume,
            "seconds_left": course.seconds_left,
        }


def _trial(record: Record) -> dict[str, Any]:
    kind, message = record.failure or (None, None)
    return {
        "trial": record.number,
        "state": record.state,
        "values": dict(record.values),
        "seconds": record.seconds,
        "failure": {"kind": kind, "message": message} if kind else None,
    }


def _print(**line: Any) -> None:
    json.dump(line, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()
