"""`mlflow`: runs for MLflow's tracking."""

import importlib.util
import logging
import time
from collections.abc import Mapping
from typing import Any

from nas.experiment import Experiment
from nas.registry import register
from nas.results.loggers import missing
from nas.results.loggers._measures import numbers, settings
from nas.results.records import COMPLETE, FAILED, Record
from nas.results.run_directory import RunDirectory

STATUS = {COMPLETE: "FINISHED", FAILED: "FAILED"}  # what was pruned or rejected was killed


@register("logger", "mlflow")
class MLflow:
    """An experiment of the search's name, with a run per trial: settings, metrics per epoch, objectives.

    Args:
        uri: Tracking server or store; `mlflow.db` in the run directory, an SQLite file, if it is not given.
    """

    def __init__(self, uri: str | None = None) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise missing("mlflow", "mlflow")
        self.uri = uri
        self._runs: dict[int, str] = {}

    def begin(self, run: RunDirectory, experiment: Experiment) -> None:
        """Find the experiment in the store, or make it."""
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # tables are made, as ever
        self._client = MlflowClient(self.uri or f"sqlite:///{(run.path / 'mlflow.db').resolve()}")
        known = self._client.get_experiment_by_name(experiment.name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(experiment.name)

    def epoch(self, record: Record, metrics: Mapping[str, Any]) -> None:
        """One point of each curve."""
        self._log(record, numbers(metrics), int(metrics["epoch"]))

    def ended(self, record: Record) -> None:
        """The final objectives, and how the trial ended."""
        if record.state == COMPLETE:
            self._log(record, {f"final/{name}": value for name, value in record.values.items()}, 0)
        if record.failure:
            self._client.set_tag(self._run(record), "failure", ": ".join(record.failure))
        self._client.set_terminated(self._run(record), STATUS.get(record.state, "KILLED"))
        del self._runs[record.number]

    def close(self) -> None:
        """End the runs of trials that are put back; they begin anew when the search is resumed."""
        for own in self._runs.values():
            self._client.set_terminated(own, "KILLED")
        self._runs = {}

    def _log(self, record: Record, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(_name(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run(record), metrics=found)

    def _run(self, record: Record) -> str:
        if record.number not in self._runs:
            from mlflow.entities import Param

            tags = {"mlflow.runName": f"trial {record.number}", "trial": str(record.number)}
            own = self._client.create_run(self._experiment, tags=tags).info.run_id
            known = [Param(_name(path), str(value)) for path, value in settings(record).items()]
            self._client.log_batch(own, params=known)
            self._runs[record.number] = own
        return self._runs[record.number]


def _name(text: str) -> str:
    """A name that MLflow takes: it knows letters, digits and a few signs."""
    return "".join(letter if letter.isalnum() or letter in "/_-. :" else "_" for letter in text)
