"""`tensorboard`: event files for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.experiment import Experiment
from nas.registry import register
from nas.results.loggers._measures import numbers, settings
from nas.results.records import COMPLETE, Record
from nas.results.run_directory import RunDirectory


@register("logger", "tensorboard")
class TensorBoard:
    """Every trial as a run of its own: metrics per epoch, and its settings with its final objectives.

    Args:
        folder: Where the event files go; `tensorboard` in the run directory if it is not given.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._writers: dict[int, Any] = {}

    def begin(self, run: RunDirectory, experiment: Experiment) -> None:
        """Choose the folder."""
        self.folder = self.folder or run.path / "tensorboard"

    def epoch(self, record: Record, metrics: Mapping[str, Any]) -> None:
        """One point of each curve."""
        writer = self._writer(record)
        for name, value in numbers(metrics).items():
            writer.add_scalar(name, value, int(metrics["epoch"]))
        writer.flush()

    def ended(self, record: Record) -> None:
        """The settings beside the final objectives, for the tab of hyper-parameters."""
        writer = self._writer(record)
        writer.add_text("state", record.state)
        if record.state == COMPLETE:
            final = {f"final/{name}": value for name, value in record.values.items()}
            writer.add_hparams(settings(record), final, name="final")
        writer.close()
        del self._writers[record.number]

    def close(self) -> None:
        """Close what trials that are put back have open."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, record: Record) -> Any:
        if record.number not in self._writers:
            from tensorboardX import SummaryWriter

            assert self.folder is not None
            self._writers[record.number] = SummaryWriter(str(self.folder / f"trial_{record.number:04d}"))
        return self._writers[record.number]
