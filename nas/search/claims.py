"""Claims: which driver works on a trial, where several machines join one study."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Protocol, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, create_engine
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import select as sql_select
from sqlalchemy import update as sql_update
from sqlalchemy.exc import DBAPIError, IntegrityError

from nas.errors import RequestError
from nas.results.stored import SETTINGS, reason, refusal, refuses

T = TypeVar("T")

BEATS_PER_LEASE = 4
LONGEST_PAUSE = 2.0


class Claims(Protocol):
    """Says which trials this driver works on. A trial is an id of the storage.

    `shared` says whether there may be other drivers.
    """

    shared: bool

    def exclusive(self) -> AbstractContextManager[None]:
        """A time in which no other driver of the study asks, tells or claims."""
        ...

    def take(self, trial: int) -> None:
        """Work on a trial from now on; only while exclusive."""
        ...

    def holds(self, trial: int) -> bool:
        """Whether a trial is still this driver's; only while exclusive."""
        ...

    def drop(self, trial: int) -> None:
        """Work on a trial no more; only while exclusive."""
        ...

    def due(self) -> bool:
        """Whether it is time to beat again."""
        ...

    def beat(self) -> None:
        """Show the other drivers that this one is alive."""
        ...

    def free(self, trials: Iterable[int]) -> set[int]:
        """Those of some unfinished trials on which nobody works, or whose driver has died."""
        ...

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something with the storage, again where it could not be reached, for as long as a lease."""
        ...

    def close(self) -> None:
        """Leave the storage."""
        ...


class Sole:
    """The claims of the only driver: what it has not taken is left over from an earlier session."""

    shared = False

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def exclusive(self) -> AbstractContextManager[None]:
        """Always so."""
        return nullcontext()

    def take(self, trial: int) -> None:
        """Work on a trial from now on."""
        self._taken.add(trial)

    def holds(self, trial: int) -> bool:
        """Whether a trial was taken."""
        return trial in self._taken

    def drop(self, trial: int) -> None:
        """Work on a trial no more."""
        self._taken.discard(trial)

    def due(self) -> bool:
        """Never: nobody listens."""
        return False

    def beat(self) -> None:
        """Nobody listens."""

    def free(self, trials: Iterable[int]) -> set[int]:
        """Those that were not taken."""
        return set(trials) - self._taken

    def patiently(self, work: Callable[[], T]) -> T:
        """Do it; the storage is a file."""
        return work()

    def close(self) -> None:
        """There is nothing to leave."""


class Shared:
    """Claims in a table beside the study, with a heartbeat.

    A claim is a lease: each driver counts up the beats of its claims, and a claim whose beat another driver
    has not seen move for the length of a lease is free. So no two clocks are ever compared. Whoever asks,
    tells or claims holds the lock of the study, a row that a transaction has locked.

    Args:
        url: The storage's database, as SQLAlchemy reads it.
        study: Name of the study.
        lease: Seconds after which a driver that shows no sign of life has lost its trials, and for which
            the storage may be out of reach.
    """

    shared = True

    def __init__(self, url: str, study: str, lease: float) -> None:
        self.driver = uuid.uuid4().hex
        self.lease = lease
        self._study = study
        self._beaten = time.monotonic()
        self._seen: dict[int, tuple[tuple[str, int], float]] = {}
        self._connection: Connection | None = None
        self._engine = create_engine(url, **SETTINGS)
        tables = MetaData()
        self._locks = Table("nas_locks", tables, Column("study", String(255), primary_key=True))
        self._claims = Table(
            "nas_claims",
            tables,
            Column("trial", BigInteger, primary_key=True, autoincrement=False),
            Column("driver", String(32), nullable=False),
            Column("beat", Integer, nullable=False),
        )
        self._make(tables)

    def _make(self, tables: MetaData) -> None:
        """Make the tables and the lock; another driver may be doing the same at the same moment."""
        with suppress(DBAPIError):
            tables.create_all(self._engine)
        self.patiently(lambda: tables.create_all(self._engine))
        self.patiently(self._make_lock)

    def _make_lock(self) -> None:
        with suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(sql_insert(self._locks).values(study=self._study))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """A time in which no other driver of the study asks, tells or claims."""
        lock = sql_select(self._locks.c.study).where(self._locks.c.study == self._study).with_for_update()
        with self._engine.begin() as connection:
            connection.execute(lock).all()
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None

    def take(self, trial: int) -> None:
        """Work on a trial from now on; only while exclusive."""
        self.drop(trial)
        values = {"trial": trial, "driver": self.driver, "beat": 0}
        self._locked.execute(sql_insert(self._claims).values(**values))

    def holds(self, trial: int) -> bool:
        """Whether a trial is still this driver's; only while exclusive."""
        claim = sql_select(self._claims.c.driver).where(self._claims.c.trial == trial)
        return self._locked.execute(claim).scalar() == self.driver

    def drop(self, trial: int) -> None:
        """Nobody works on a trial any more; only while exclusive."""
        self._locked.execute(sql_delete(self._claims).where(self._claims.c.trial == trial))

    def due(self) -> bool:
        """A few times per lease, and every few seconds at least."""
        return time.monotonic() - self._beaten > min(LONGEST_PAUSE, self.lease / BEATS_PER_LEASE)

    def beat(self) -> None:
        """Count up the beats of this driver's claims."""
        self._beaten = time.monotonic()
        mine = self._claims.c.driver == self.driver
        with self._engine.begin() as connection:
            connection.execute(sql_update(self._claims).where(mine).values(beat=self._claims.c.beat + 1))

    def free(self, trials: Iterable[int]) -> set[int]:
        """Those of some unfinished trials that nobody has claimed, or whose claim has not beaten for long."""
        wanted, now = set(trials), time.monotonic()
        if not wanted:
            return set()
        with self._engine.begin() as connection:
            rows = connection.execute(sql_select(self._claims).where(self._claims.c.trial.in_(wanted))).all()
        claims = {trial: (driver, beat) for trial, driver, beat in rows}
        for trial, claim in claims.items():
            if self._seen.get(trial, (None, 0))[0] != claim:
                self._seen[trial] = (claim, now)
        return {
            trial
            for trial in wanted
            if trial not in claims
            or (claims[trial][0] != self.driver and now - self._seen[trial][1] > self.lease)
        }

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something with the storage, again where it could not be reached, for as long as a lease.

        Raises:
            RequestError: It was out of reach for longer, or has refused what waiting does not change.
        """
        from optuna.exceptions import StorageInternalError

        end = time.monotonic() + self.lease
        while True:
            try:
                return work()
            except (DBAPIError, StorageInternalError) as error:
                if refuses(error):
                    raise RequestError(
                        f"the study's storage {refusal(error)}, and go on with --resume"
                    ) from None
                if time.monotonic() > end:
                    raise RequestError(
                        f"the study's storage could not be reached for {self.lease:g} seconds "
                        f"({reason(error)}); go on with --resume when it is there again"
                    ) from None
                time.sleep(min(1.0, self.lease / 20))

    def close(self) -> None:
        """Leave the database."""
        self._engine.dispose()

    @property
    def _locked(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("claims change only while exclusive")
        return self._connection
