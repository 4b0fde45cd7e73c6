"""Reading the records of a run back from its Optuna storage."""

from collections.abc import Mapping

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.experiment import Direction
from nas.results.records import COMPLETE, RUNNING, WAITING, History, Record
from nas.results.run_directory import RunDirectory
from nas.space import Architecture


def open_storage(url: str) -> RDBStorage:
    """Open an Optuna storage; its tables are made where missing."""
    return RDBStorage(url)


def read_history(run: RunDirectory) -> History:
    """The trials of a run, as they are stored.

    Raises:
        RequestError: There is no run in the directory.
    """
    experiment = run.experiment()
    if not run.database.exists():
        return History([], experiment.objectives)
    storage = open_storage(run.storage_url)
    try:
        study_id = storage.get_study_id_from_name(experiment.name)
        return History(read_records(storage, study_id, experiment.objectives), experiment.objectives)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def read_records(storage: RDBStorage, study_id: int, objectives: Mapping[str, Direction]) -> list[Record]:
    """One record per trial of a study, by number."""
    return [_record(trial, objectives) for trial in storage.get_all_trials(study_id, deepcopy=False)]


def _record(trial: FrozenTrial, objectives: Mapping[str, Direction]) -> Record:
    stored = trial.user_attrs
    state = stored["state"] if trial.state.is_finished() else _open_state(trial.state)
    values: dict[str, float] = {}
    if state == COMPLETE:
        own = {
            "architecture",
            "architecture_id",
            "seed",
            "asked_after",
            "seconds",
            "told",
            "state",
            "failure",
        }
        values = dict(zip(objectives, trial.values, strict=True))
        values |= {name: value for name, value in stored.items() if name not in own}
    failure = stored.get("failure")
    return Record(
        trial.number,
        stored["seed"],
        Architecture(stored["architecture"]),
        state,
        stored["asked_after"],
        stored.get("told") if trial.state.is_finished() else None,
        values,
        stored.get("seconds"),
        (failure[0], failure[1]) if failure else None,
    )


def _open_state(state: TrialState) -> str:
    return WAITING if state == TrialState.WAITING else RUNNING
