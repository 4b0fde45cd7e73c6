"""What a person has no right to is said in a line, and is no failure of ours."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from searches import ENVIRONMENT

from nas.cli import run_command

# Runs commands one after another, and prints what each has said and returned.
COMMANDS = """
import importlib, io, json, os, sys
from contextlib import redirect_stderr
for path, mode, module, *words in json.loads(sys.argv[1]):
    os.chmod(path, mode)
    with redirect_stderr(io.StringIO()) as said:
        code = importlib.import_module(module).main(words)
    os.chmod(path, 0o700)
    print(json.dumps([code, said.getvalue()]))
"""


def said(*commands):
    """Exit codes and messages of commands, each with a path whose mode is another meanwhile."""
    python = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    if os.geteuid() == 0:  # who has the right to everything
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv")
        python = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *python]
    done = subprocess.run(python, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_that_may_not_be_written_is_named_and_stays_as_it_was(finished_search, tmp_path):
    run, experiment = tmp_path / "run", finished_search / "toy.yaml"
    shutil.copytree(finished_search / "run", run)
    database = run / "study.db"
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    resume = ["nas.search.__main__", str(experiment), "--run-dir", str(run), "--resume", "--trials", "20"]
    report = ["nas.report", str(run)]
    cases = [
        (database, 0o400, resume, f"{database} cannot be written; get the right to"),
        (run, 0o500, resume, f"{run} cannot be written; get the right to"),
        (run, 0o500, report, f"{database} cannot be opened: attempt to write a readonly database"),
        (database, 0o000, report, f"{database} cannot be opened: unable to open database file"),
    ]
    found = said(*[(str(path), mode, *words) for path, mode, words, _ in cases])
    for (code, message), (*_, expected) in zip(found, cases, strict=True):
        assert code == 2
        assert expected in message
        assert len(message.splitlines()) == 1
    assert all(file.read_bytes() == content for file, content in before.items())


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, "error: some/file: Permission denied; get the right to it, or choose another"),
        (errno.EROFS, "error: some/file: Read-only file system; get the right to it, or choose another"),
        (errno.ENOSPC, "error: some/file: No space left on device; make room, or choose another"),
    ],
)
def test_what_the_system_refuses_a_command_is_one_line(capsys, number, expected):
    def refused(argv):
        raise OSError(number, os.strerror(number), "some/file")

    assert run_command(refused) == 2
    assert expected in capsys.readouterr().err


def test_what_else_the_system_says_is_a_failure_of_ours(capsys):
    def lost(argv):
        raise FileNotFoundError(errno.ENOENT, "No such file", "some/file")

    assert run_command(lost) == 1
    assert "failure of nas" in capsys.readouterr().err
