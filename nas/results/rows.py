"""Trials as rows of Optuna's tables: one transaction for what is asked, one for what is told.

Optuna's own calls look up every parameter and attribute before they write it: some fifty statements per
trial. The rows are those that it would have written, so that it reads them, as its dashboard does.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Table

TRIALS: Table = models.TrialModel.__table__
PARAMETERS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
USER_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__
STUDY_ATTRIBUTES: Table = models.StudySystemAttributeModel.__table__


class Rows:
    """Writes the rows of a study, each change in whole or not at all.

    Args:
        storage: The storage.
        study: The study's id in it.
    """

    def __init__(self, storage: RDBStorage, study: int) -> None:
        self._engine = storage.engine
        self._study = study

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial that begins; its id in the storage.

        Args:
            trial: With its number, parameters and attributes. Nobody else may be adding one.
        """
        with self._engine.begin() as connection:
            row = {"number": trial.number, "study_id": self._study, "state": trial.state}
            added: Any = connection.execute(TRIALS.insert().values(**row, datetime_start=_now()))
            [own] = added.inserted_primary_key
            parameters = (
                {
                    "trial_id": own,
                    "param_name": name,
                    "param_value": trial.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(trial.distributions[name]),
                }
                for name, value in trial.params.items()
            )
            _insert(connection, PARAMETERS, parameters)
            _insert(connection, USER_ATTRIBUTES, _attributes(trial.user_attrs, trial_id=own))
            _insert(connection, SYSTEM_ATTRIBUTES, _attributes(trial.system_attrs, trial_id=own))
        return int(own)

    def end(self, own: int, trial: FrozenTrial) -> None:
        """End a trial.

        Args:
            own: Its id in the storage.
            trial: Its state, its values, and what attributes there are beside those that it began with.
        """
        with self._engine.begin() as connection:
            _set(connection, USER_ATTRIBUTES, trial.user_attrs, trial_id=own)
            _set(connection, SYSTEM_ATTRIBUTES, trial.system_attrs, trial_id=own)
            stored = map(models.TrialValueModel.value_to_stored_repr, trial.values or ())
            values = (
                {"trial_id": own, "objective": place, "value": value, "value_type": kind}
                for place, (value, kind) in enumerate(stored)
            )
            _insert(connection, VALUES, values)
            ended = TRIALS.update().where(TRIALS.c.trial_id == own)
            connection.execute(ended.values(state=trial.state, datetime_complete=_now()))

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Set some system attributes of the study."""
        with self._engine.begin() as connection:
            _set(connection, STUDY_ATTRIBUTES, attributes, study_id=self._study)


def _set(connection: Connection, table: Table, attributes: Mapping[str, Any], **owner: int) -> None:
    """Set the attributes of an owner, whether or not it had them before."""
    [(column, own)] = owner.items()
    if attributes:
        known = (table.c[column] == own) & table.c.key.in_(attributes)
        connection.execute(table.delete().where(known))
        _insert(connection, table, _attributes(attributes, **owner))


def _attributes(attributes: Mapping[str, Any], **owner: int) -> list[dict[str, Any]]:
    return [owner | {"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    if listed := list(rows):
        connection.execute(table.insert(), listed)


def _now() -> datetime:
    """The time as Optuna stores it: that of UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)
