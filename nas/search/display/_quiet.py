"""`quiet`: nothing; the run directory tells."""

from nas.results.run_directory import RunDirectory
from nas.search.executors import Report


class QuietDisplay:
    """Shows nothing."""

    def __enter__(self) -> "QuietDisplay":
        return self

    def __exit__(self, *error: object) -> None: ...

    def observe(self, report: Report | None) -> None:
        """Nothing is shown."""

    def conclude(self, run: RunDirectory, reason: str | None) -> None:
        """Nothing is shown."""
