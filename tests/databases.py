"""Database servers on loopback, for tests and benchmarks; none where its programs are not installed."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from searches import wait_until
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError


def which(program: str) -> str | None:
    """Where a program is, on the path or where Debian keeps those of servers."""
    folders = ["/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *folders]))


class Server(ABC):
    """A server of one's own, on loopback.

    `address` is the beginning of its URLs, `first` a database that it always has, `program` what runs,
    `careful` makes a user of that name whose password is `secret`, and `other_password` changes that.
    `guest` makes a user without any right, and `reads` lets it read what is in a database.
    """

    address: str
    first: str
    program: str
    careful: tuple[str, ...]
    other_password: str
    guest: str
    reads: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._counter = itertools.count()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.install()
        self.start()

    @classmethod
    def installed(cls) -> bool:
        return which(cls.program) is not None

    @abstractmethod
    def install(self) -> None:
        """Make an empty database in the folder."""

    @abstractmethod
    def command(self) -> list[Any]:
        """What runs the server."""

    def start(self) -> None:
        """Let it run, until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, **self._surroundings())
        wait_until(self._answers, "the server answers")

    def kill(self) -> None:
        """As a power cut would: no process of the server is left."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it, whoever is connected."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"db{next(self._counter)}"
        self.execute(f"create database {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"{self.address}:{self.port}/{database}"

    def execute(self, statement: str, database: str = "") -> None:
        engine = create_engine(self.url(database or self.first), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end."""
        command = [which(program), *arguments]
        subprocess.run(command, check=True, capture_output=True, **self._surroundings())

    def _answers(self) -> bool:
        try:
            self.execute("select 1")
        except OperationalError:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return False
        return True

    def _surroundings(self) -> dict[str, Any]:
        """Servers refuse to be run by root."""
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        return {"cwd": self.folder, **user}


class PostgreSQL(Server):
    """PostgreSQL, as Debian has it or on the path."""

    address = "postgresql+psycopg://nas@127.0.0.1"
    first = "postgres"
    program = "postgres"
    careful = (  # a user who needs a password
        "do $$ begin create role careful superuser login; exception when duplicate_object then end $$",
        "alter role careful password 'secret'",
    )
    other_password = "alter role careful password 'changed'"
    guest = "do $$ begin create role guest login; exception when duplicate_object then end $$"
    reads = "grant select on all tables in schema public to guest"

    def install(self) -> None:
        self.run("initdb", "-D", "data", "-U", "nas", "-A", "trust", "--no-sync")
        file = self.folder / "data" / "pg_hba.conf"
        file.write_text(f"host all careful 127.0.0.1/32 scram-sha-256\n{file.read_text()}")

    def command(self) -> list[Any]:
        settings = ("-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
        return [which("postgres"), "-D", "data", "-p", str(self.port), *settings]


class MariaDB(Server):
    """MariaDB, which speaks as MySQL does."""

    address = "mysql+pymysql://root@127.0.0.1"
    first = "mysql"
    program = "mariadbd"
    careful = (
        "create or replace user careful@'%' identified by 'secret'",
        "grant all on *.* to careful@'%'",
    )
    other_password = "alter user careful@'%' identified by 'changed'"
    guest = "create or replace user guest@'%'"
    reads = "grant select on * to guest@'%'"

    def install(self) -> None:
        trusted = "--auth-root-authentication-method=normal"
        self.run("mariadb-install-db", "--no-defaults", self._data, "--skip-test-db", trusted)

    def command(self) -> list[Any]:
        places = (self._data, f"--port={self.port}", f"--socket={self.folder / 'socket'}")
        settings = ("--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-method=nosync")
        return [which("mariadbd"), "--no-defaults", *places, *settings]

    @property
    def _data(self) -> str:
        return f"--datadir={self.folder / 'data'}"


@contextmanager
def started(kind: type[Server]) -> Iterator[Server]:
    """A server that runs until it is no longer needed."""
    folder = Path("/tmp") / f"nas_{kind.__name__.lower()}_{os.getpid()}"  # where another user may go
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    running = kind(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)
