"""A PostgreSQL server on loopback, for tests and benchmarks; none where its programs are not installed."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from searches import wait_until
from sqlalchemy import create_engine, text


def server_programs() -> Path | None:
    """The folder of PostgreSQL's server programs."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("initdb") or "/").parent]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


PROGRAMS = server_programs()


class Server:
    """A PostgreSQL server of one's own, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._as_user("initdb", "-D", str(folder / "data"), "-U", "nas", "-A", "trust", "--no-sync")
        self.start()
        self.execute("create database study")

    def start(self) -> None:
        options = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.folder / "log")
        self._as_user("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def kill(self) -> None:
        """As a power cut would: no process of the server is left."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the server is gone")
        (self.folder / "data" / "postmaster.pid").unlink()

    def stop(self) -> None:
        self._as_user("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop", check=False)

    def url(self, database: str = "study") -> str:
        return f"postgresql+psycopg://nas@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _as_user(self, program: str, *arguments: str, check: bool = True) -> None:
        """PostgreSQL refuses to be run by root."""
        assert PROGRAMS is not None
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        subprocess.run(
            [PROGRAMS / program, *arguments], check=check, capture_output=True, cwd=self.folder, **user
        )


@contextmanager
def started_server() -> Iterator[Server]:
    """A server that runs until it is no longer needed."""
    folder = Path("/tmp") / f"nas_postgresql_{os.getpid()}"  # where another user may go
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    running = Server(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)
