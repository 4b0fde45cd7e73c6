"""Reading the records of a run back from its Optuna storage."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.errors import RequestError
from nas.experiment import Direction, Experiment
from nas.results.records import COMPLETE, RUNNING, WAITING, History, Origin, Record
from nas.results.run_directory import RunDirectory
from nas.space import Architecture

RACES = 4  # in which another driver may be the first

# Classes of SQL states that no waiting changes: user or password, database, table or right; but not those
# of what another driver has made a moment before.
REFUSALS, RACED = ("28", "3D", "42"), ("42P07", "42710", "42S01")
# PostgreSQL's driver has no SQL state of what went wrong as it connected, and SQLite has none at all.
WORDS_OF_REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "not permitted to log in",
    "permission denied",
    "readonly database",
    "unable to open database file",
)

# Of connections to servers. MySQL's own isolation locks what is between rows too, and drivers wait for it.
SETTINGS = {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}

# Attributes of a trial that are not measures.
OWN = {
    "architecture",
    "architecture_id",
    "seed",
    "asked_after",
    "origin",
    "fold",
    "cheap",
    "metrics",
    "seconds",
    "told",
    "state",
    "failure",
    "wiring",
}


def open_storage(url: str) -> RDBStorage:
    """Open an Optuna storage; its tables are made where missing.

    Raises:
        RequestError: The database cannot be reached or refuses what is asked of it, or there is no driver
            for it.
    """
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError

    try:
        return _storage(url)
    except (ImportError, NoSuchModuleError) as error:
        raise RequestError(
            f"search.storage: there is no driver for {url} ({error}); for PostgreSQL write "
            "postgresql+psycopg:// and install `small-world-nas[postgresql]`, for MySQL or MariaDB "
            "mysql+pymysql:// and `small-world-nas[mysql]`"
        ) from None
    except (DBAPIError, StorageInternalError) as error:
        if url.startswith("sqlite"):
            file = url.removeprefix("sqlite:///")
            raise RequestError(
                f"{file} cannot be opened: {reason(error)}; this takes the right to write too, to the file "
                "and to its folder"
            ) from None
        if refuses(error):
            raise RequestError(f"search.storage: {url} {refusal(error)}") from None
        raise RequestError(f"search.storage: {url} cannot be reached: {reason(error)}") from None


def reason(error: Exception) -> str:
    """What a database says is wrong, in a line."""
    return str(error.__cause__ or error).strip().splitlines()[0]


def refuses(error: Exception) -> bool:
    """Whether a database has answered, and would answer so again; not where it is away or is starting."""
    from sqlalchemy.exc import DBAPIError

    database = error if isinstance(error, DBAPIError) else error.__cause__
    state = getattr(getattr(database, "orig", None), "sqlstate", None)
    if state is not None:
        return str(state).startswith(REFUSALS) and state not in RACED
    return any(words in str(database) for words in WORDS_OF_REFUSALS)


def refusal(error: Exception) -> str:
    """What is to be said of a database that `refuses`, after its name."""
    return (
        f"refuses what the search asks of it ({reason(error)}); mend the user, the password, the rights or "
        "the tables"
    )


def _storage(url: str) -> RDBStorage:
    """The storage; another driver may be making the same tables at the same moment."""
    from sqlalchemy.exc import DBAPIError

    settings = {} if url.startswith("sqlite") else SETTINGS
    _widen_attributes()
    for _ in range(RACES):
        try:
            return RDBStorage(url, engine_kwargs=settings)
        except DBAPIError as error:
            if error.statement is None or refuses(error):  # there is no connection, or no right
                raise
        time.sleep(0.5)
    return RDBStorage(url, engine_kwargs=settings)


def _widen_attributes() -> None:
    """Let MySQL keep the metrics of a long training: Optuna has it make TEXT, which ends at 64 kB."""
    from optuna.storages._rdb import models
    from sqlalchemy import Text
    from sqlalchemy.dialects.mysql import LONGTEXT

    for model in (models.TrialUserAttributeModel, models.StudyUserAttributeModel):
        model.__table__.c.value_json.type = Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def read_history(run: RunDirectory) -> History:
    """The trials of a run, as they are stored.

    Raises:
        RequestError: There is no run in the directory.
    """
    experiment = run.experiment()
    if not run.has_study:
        return History([], experiment.objectives, experiment.constraints)
    with stored_study(run) as study:
        return history_of(study, experiment)


def history_of(study: optuna.Study, experiment: Experiment) -> History:
    """The trials of an experiment's study, as they are stored."""
    records = read_records(study._storage, study._study_id, experiment.objectives)
    return History(records, experiment.objectives, experiment.constraints)


@contextmanager
def stored_study(run: RunDirectory) -> Iterator[optuna.Study]:
    """The Optuna study of a run, to be read."""
    with _readable(run) as url:
        storage = open_storage(url)
        try:
            yield optuna.load_study(study_name=run.experiment().name, storage=storage)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _readable(run: RunDirectory) -> Iterator[str]:
    """URL of a run's storage; of a copy where it may not be written, for Optuna writes to what it opens."""
    if run.shared_storage or (run.writable and os.access(run.database, os.W_OK)):
        yield run.storage_url
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / run.database.name
        try:
            _copy(run.database.resolve(), copy)
        except sqlite3.OperationalError as error:
            raise RequestError(f"{run.database} cannot be read: {error}") from None
        yield f"sqlite:///{copy}"


def _copy(database: Path, copy: Path) -> None:
    """Copy a database of SQLite as it stands, whether or not a search is writing to it."""
    live = database.with_name(f"{database.name}-wal").exists()
    source = f"{database.as_uri()}?{'mode=ro' if live else 'immutable=1'}"
    with closing(sqlite3.connect(source, uri=True)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)


def read_records(storage: BaseStorage, study_id: int, objectives: Mapping[str, Direction]) -> list[Record]:
    """One record per trial of a study, by number."""
    return [read_record(trial, objectives) for trial in storage.get_all_trials(study_id, deepcopy=False)]


def read_record(trial: FrozenTrial, objectives: Mapping[str, Direction]) -> Record:
    """What is known of one stored trial."""
    stored = trial.user_attrs
    asked = Record(
        trial.number,
        stored["seed"],
        Architecture(stored["architecture"]),
        _open_state(trial.state),
        stored["asked_after"],
        _origin(stored["origin"]),
        fold=stored.get("fold", 0),
    )
    if not trial.state.is_finished():
        return asked  # what else is stored was written by a process that died before it was done
    state, values = stored["state"], {}
    if state == COMPLETE:
        values = dict(zip(objectives, trial.values, strict=True))
        values |= {name: value for name, value in stored.items() if name not in OWN}
    failure = None if state == COMPLETE else stored.get("failure")
    return replace(
        asked,
        state=state,
        cheap=stored["cheap"],
        metrics=tuple(stored["metrics"]),
        told=stored["told"],
        values=values,
        seconds=stored["seconds"],
        failure=(failure[0], failure[1]) if failure else None,
        wiring=stored.get("wiring", {}) if state == COMPLETE else {},
    )


def _origin(stored: Mapping[str, Any]) -> Origin:
    return Origin(stored["operator"], tuple(stored["parents"]), stored["inherits"])


def _open_state(state: TrialState) -> str:
    return WAITING if state == TrialState.WAITING else RUNNING
