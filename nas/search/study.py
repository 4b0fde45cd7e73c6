"""The study: the sequence of trials, kept in an Optuna storage with one writer."""

import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from nas.errors import RequestError, TrialError
from nas.experiment import Direction, Experiment
from nas.results import artifacts
from nas.results.records import (
    COMPLETE,
    ENDS,
    FAILED,
    PRUNED,
    REJECTED,
    RUNNING,
    WAITING,
    History,
    Record,
)
from nas.results.rows import Rows
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import open_storage, read_record
from nas.search.claims import Claims, Sole
from nas.search.ledger import Ledger
from nas.search.proposals import Proposals, unfinished
from nas.search.samplers._optuna import STATES, parameters
from nas.seeds import derive

ENDINGS = {"constraint": REJECTED, "pruned": PRUNED}  # by kind of the error; any other is a failure


class Study:
    """Asks a sampler for architectures, is told what they are worth, and remembers both.

    The Optuna study is the record that the dashboard shows and from which a search resumes; what is
    proposed follows from the records, the seed and the number of the trial alone.

    Args:
        run: Where the study is kept.
        name: Name of the study.
        proposals: What to ask for next.
        objectives: Direction by objective.
        constraints: Bounds on objectives that are known before the training.
        claims: Which trials this driver works on; None where it is the study's only one.
    """

    def __init__(
        self,
        run: RunDirectory,
        name: str,
        proposals: Proposals,
        objectives: Mapping[str, Direction],
        constraints: Mapping[str, str] | None = None,
        claims: Claims | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.run = run
        self.proposals = proposals
        self.objectives = dict(objectives)
        self.constraints = dict(constraints or {})
        self.claims = claims or Sole()
        self._database = _open(run)
        self._storage = optuna.storages.get_storage(self._database)
        self.stored = study = self.claims.patiently(lambda: self._load(name))
        self._id = study._study_id
        self._rows = Rows(self._database, self._id)
        stored = study.get_trials(deepcopy=False)
        self._trial_ids = [trial._trial_id for trial in stored]
        self._distributions: dict[str, BaseDistribution] = {}
        for trial in stored:
            self._distributions = trial.distributions | self._distributions
        self._ledger = Ledger([read_record(trial, self.objectives) for trial in stored], self.objectives)
        self._mend_log()
        self._write_what_a_power_cut_took()

    def _load(self, name: str) -> optuna.Study:
        """The study in the storage, made where there is none."""
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=list(self.objectives.values()),
            load_if_exists=True,
        )
        if self.run.shared_storage:
            _agree(study, self.run.experiment())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if study.metric_names is None:
                study.set_metric_names(list(self.objectives))
        return study

    @property
    def history(self) -> History:
        """All trials so far."""
        return History(self.records, self.objectives, self.constraints, self._ledger.standing)

    @property
    def records(self) -> Sequence[Record]:
        """All trials so far, by number."""
        return self._ledger.records

    @property
    def budgeted(self) -> int:
        """The trials that count: neither what a constraint has rejected, nor what ends a search."""
        return self._ledger.counted

    def trial_id(self, number: int) -> int:
        """What the storage calls a trial."""
        return self._trial_ids[number]

    def unfinished(self) -> list[Record]:
        """Trials that have been asked for and have not finished, by number."""
        return list(self._ledger.unfinished.values())

    def left_over(self) -> list[Record]:
        """Unfinished trials on which nobody works: whoever asked for them has died, or was interrupted."""
        ids = {self._trial_ids[record.number]: record for record in self.unfinished()}
        free = self.claims.patiently(lambda: self.claims.free(ids))
        return [record for trial_id, record in ids.items() if trial_id in free]

    def keep_up(self) -> None:
        """Stay in touch with the other drivers; called all the time."""
        if self.claims.due():
            self.claims.patiently(self.claims.beat)
            self.claims.patiently(self.refresh)

    def refresh(self) -> None:
        """Take note of what other drivers have asked for and finished."""
        if not self.claims.shared:
            return
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        news: list[tuple[Record, str]] = []
        for record in (read_record(trial, self.objectives) for trial in trials):
            if record.number == len(self.records):
                self._trial_ids.append(trials[record.number]._trial_id)
                news.append((record, "asked"))
            elif self.records[record.number].finished or not record.finished:
                continue
            self._ledger.put(record)
            if record.finished:
                news.append((record, ENDS[record.state]))
        self._log_in_order(news)

    def ask(self, enough: Callable[[], bool] = lambda: False, last: bool = False) -> Record | None:
        """Propose the next trial; None when there is no network left that has not been one.

        Args:
            enough: Asked once all that other drivers have done is known; if it is, nothing is proposed.
            last: Propose one of the trials that end a search; see `Proposals.last`.
        """
        return self.claims.patiently(lambda: self._ask(enough, last))

    def _ask(self, enough: Callable[[], bool], last: bool) -> Record | None:
        with self.claims.exclusive():
            self.refresh()
            if enough():
                return None
            number = len(self.records)
            proposal = (self.proposals.last if last else self.proposals.next)(self.history)
            if proposal is None:
                return None
            architecture, seed = proposal.architecture, derive(self.proposals.seed, number, "trial")
            fold = self.proposals.fold(architecture, self.records)
            record = Record(
                number, seed, architecture, RUNNING, self._ledger.finished, proposal.origin, fold=fold
            )
            self._write_architecture(record)
            trial_id = self._store(record)
            self.claims.take(trial_id)
            self._trial_ids.append(trial_id)
            self._ledger.put(record)
        self._log(record, "asked")
        return record

    def restart(self, record: Record) -> Record | None:
        """Run a trial again that is left over; None where another driver has been faster."""
        return self.claims.patiently(lambda: self._restart(record.number))

    def _restart(self, number: int) -> Record | None:
        trial_id = self._trial_ids[number]
        with self.claims.exclusive():
            self.refresh()
            record = self.records[number]
            if record.finished or trial_id not in self.claims.free([trial_id]):
                return None
            if record.state == WAITING:
                self._set_state(number, TrialState.RUNNING)
            self.claims.take(trial_id)
        self._ledger.put(replace(record, state=RUNNING, cheap={}, metrics=()))
        self._log(record, "restarted")
        return self.records[number]

    def retry(self, number: int, error: TrialError, attempt: int) -> Record:
        """Run a trial again that has failed: the same seed, from its beginning.

        Args:
            number: Number of the trial.
            error: Why it failed.
            attempt: Which attempt at the trial begins; the first was 1.
        """
        self._ledger.put(replace(self.records[number], cheap={}, metrics=()))
        details = {"kind": error.kind, "message": error.message, "attempt": attempt}
        self.run.append_event("retried", trial=number, **details)
        return self.records[number]

    def release(self, number: int) -> None:
        """Put a running trial back, to run when the search is resumed; unless it is another driver's."""
        self.claims.patiently(lambda: self._release(number))

    def _release(self, number: int) -> None:
        trial_id = self._trial_ids[number]
        with self.claims.exclusive():
            self.refresh()
            ours = self.claims.holds(trial_id) or trial_id in self.claims.free([trial_id])
            if self.records[number].finished or not ours:
                return
            self._set_state(number, TrialState.WAITING)
            self.claims.drop(trial_id)
        self._ledger.put(replace(self.records[number], state=WAITING, cheap={}, metrics=()))
        self._log(self.records[number], "released")

    def tell(
        self,
        number: int,
        values: Mapping[str, float],
        seconds: float,
        wiring: Mapping[str, Any] | None = None,
    ) -> None:
        """Complete a trial with its final objectives, logged measures, and measures of its wiring."""
        record = replace(
            self.records[number],
            state=COMPLETE,
            values=dict(values),
            seconds=seconds,
            wiring=wiring or {},
        )
        self._finish(record, [values[name] for name in self.objectives])

    def measure(self, number: int, cheap: Mapping[str, float]) -> None:
        """Take note of the objectives that are known before the training."""
        self._ledger.put(replace(self.records[number], cheap=dict(cheap)))

    def progress(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take note of the objectives after one more epoch."""
        record = self.records[number]
        known = {name: metrics[name] for name in self.objectives if name in metrics}
        self._ledger.put(replace(record, metrics=(*record.metrics, known)))

    def fail(self, number: int, error: TrialError, seconds: float) -> None:
        """End a trial without a result: pruned, rejected by a constraint, or else failed."""
        state = ENDINGS.get(error.kind, FAILED)
        failure = (error.kind, error.message)
        record = replace(self.records[number], state=state, failure=failure, seconds=seconds)
        self._finish(record, None)

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of the study, which say something to the dashboard."""
        with self.claims.exclusive():
            self._rows.annotate(attributes)

    def _log(self, record: Record, event: str) -> None:
        details: dict[str, Any] = {}
        if event == "asked":
            details = {
                "seed": record.seed,
                "proposal_seed": self.proposals.proposal_seed(record.number),
                "operator": record.origin.operator,
                "parents": record.origin.parents,
                "inherits": record.origin.inherits,
                "asked_after": record.asked_after,
                "architecture_id": record.architecture.id,
            }
        elif event == "told":
            details = {"values": dict(record.values), "seconds": round(record.seconds or 0, 3)}
        elif record.failure and event == record.state:
            details = {"kind": record.failure[0], "message": record.failure[1]}
        self.run.append_event(event, trial=record.number, **details)

    def _log_in_order(self, news: Iterable[tuple[Record, str]]) -> None:
        """Log what records say in the order in which it happened."""
        for record, name in sorted(news, key=_moment):
            self._log(record, name)

    def _mend_log(self) -> None:
        """Have the log say what the database says.

        The database is written first: a kill may keep the last event back. A power cut takes the end of
        both, and may take more of either: what the database has lost will happen again.
        """
        logged = self.run.events()
        kept = [line for line in logged if self._has_happened(line)]
        if len(kept) < len(logged):
            self.run.write_events(kept)
        known = {(line["event"], line.get("trial")) for line in kept}
        happened = [(record, "asked") for record in self.records]
        happened += [(record, ENDS[record.state]) for record in self.records if record.finished]
        self._log_in_order((record, name) for record, name in happened if (name, record.number) not in known)

    def _has_happened(self, line: Mapping[str, Any]) -> bool:
        """Whether the database knows of what a line of the log says."""
        number, name = line.get("trial", -1), line["event"]
        if number >= len(self.records):
            return False
        return name not in ENDS.values() or name == ENDS.get(self.records[number].state)

    def _write_what_a_power_cut_took(self) -> None:
        """The database has all architectures too; of other drivers' trials there are no files here."""
        for record in self.records:
            file = self._architecture_file(record)
            whole = file.stat().st_size > 0 if file.exists() else self.claims.shared
            if not whole:
                self._write_architecture(record)

    def _write_architecture(self, record: Record) -> None:
        """Write the file of a trial's architecture; no disk is waited for."""
        text = json.dumps(record.architecture.to_data(), indent=1)
        write_atomically(self._architecture_file(record), text, durable=False)

    def _architecture_file(self, record: Record) -> Path:
        return self.run.trial(record.number) / "architecture.json"

    def secure(self) -> None:
        """Have the disk keep through a power cut what was written until now; a server sees to that itself."""
        if not self.claims.shared:
            with self._database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the database, so that all of it is in one file."""
        self.claims.close()
        self._database.remove_session()
        self._database.engine.dispose()

    def _store(self, record: Record) -> int:
        space, architecture = self.proposals.space, record.architecture
        # A replicate of what the space once had has no decisions in it.
        values, distributions = parameters(space, architecture) if architecture in space else ({}, {})
        names = {path: self._name(path, distribution) for path, distribution in distributions.items()}
        trial = create_trial(
            state=STATES[record.state],
            params={names[path]: value for path, value in values.items()},
            distributions={names[path]: distribution for path, distribution in distributions.items()},
            user_attrs={
                "architecture": record.architecture.to_data(),
                "architecture_id": record.architecture.id,
                "seed": record.seed,
                "asked_after": record.asked_after,
                "origin": asdict(record.origin),
                "fold": record.fold,
            },
            system_attrs=artifacts.entries(record.number),
        )
        trial.number = record.number
        return self._rows.add(trial)

    def _name(self, path: str, distribution: BaseDistribution) -> str:
        """What the database calls a decision: by another name once its choices have changed.

        Optuna refuses a categorical parameter whose choices are not those that it had before.
        """
        name, versions = path, itertools.count(2)
        while not _compatible(self._distributions.setdefault(name, distribution), distribution):
            name = f"{path} ({next(versions)})"
        return name

    def _finish(self, record: Record, values: list[float] | None) -> None:
        """Write the result, unless another driver has taken the trial over."""
        self.claims.patiently(lambda: self._write_if_ours(record, values))

    def _write_if_ours(self, record: Record, values: list[float] | None) -> None:
        trial_id = self._trial_ids[record.number]
        with self.claims.exclusive():
            self.refresh()
            if self.records[record.number].finished:
                return
            if not self.claims.holds(trial_id):
                self._ledger.put(unfinished(record))
                return
            self._write(replace(record, told=self._ledger.finished), values)
            self.claims.drop(trial_id)

    def _write(self, record: Record, values: list[float] | None) -> None:
        """Write the result, in whole or not at all."""
        details: dict[str, Any] = {
            name: value for name, value in record.values.items() if name not in self.objectives
        }
        details |= {"seconds": record.seconds, "told": record.told, "state": record.state}
        details |= {"cheap": dict(record.cheap), "metrics": [dict(epoch) for epoch in record.metrics]}
        if record.failure:
            details["failure"] = list(record.failure)
        if record.wiring:
            details["wiring"] = record.wiring
        excesses = self.history.excesses(record.cheap)
        ended = create_trial(
            state=STATES[record.state], values=values, user_attrs=details, constraints=excesses
        )
        self._rows.end(self._trial_ids[record.number], ended)
        self._ledger.put(record)
        self._log(record, ENDS[record.state])

    def _set_state(self, number: int, state: TrialState) -> None:
        self._storage.set_trial_state_values(self._trial_ids[number], state)


def _moment(news: tuple[Record, str]) -> tuple[int, bool, int]:
    """Where an event stands among all of a study: how many trials had finished before, then their number."""
    record, name = news
    if name == "asked":
        return record.asked_after, False, record.number
    return record.told or 0, True, record.number


def _compatible(known: BaseDistribution, other: BaseDistribution) -> bool:
    try:
        check_distribution_compatibility(known, other)
    except ValueError:
        return False
    return True


def _agree(study: optuna.Study, experiment: Experiment) -> None:
    """The first driver of a study leaves its experiment there; the others have to have the same."""
    known = study.user_attrs.get("experiment")
    if known is None:
        study.set_user_attr("experiment", experiment.to_data())
    elif difference := Experiment.model_validate(known).difference(experiment):
        raise RequestError(
            f"the database holds a study {experiment.name!r} of another experiment: {difference}; "
            "choose another name, or another search.storage"
        )


def _open(run: RunDirectory) -> RDBStorage:
    """The run's database; of SQLite with a write-ahead log: killing the writer loses nothing.

    No transaction waits for the disk, which would take as long as all else that is done for a trial; see
    `Study.secure`.
    """
    storage = open_storage(run.storage_url)
    if run.shared_storage:
        return storage

    @event.listens_for(storage.engine, "connect")
    def _journal(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()
    return storage
