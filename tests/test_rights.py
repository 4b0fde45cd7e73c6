"""What a person has no right to is said in a line, and is no failure of ours."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from searches import ENVIRONMENT

from nas.cli import run_command
from nas.registry import create, load_plugins
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history

CLUELESS = """import nas


@nas.register("sampler", "clueless")
class Clueless:
    def propose(self, space, history, seed):
        if space is None:
            raise RuntimeError("no idea\\nat all")
"""

# Runs commands one after another, and prints what each has said and returned.
COMMANDS = """
import importlib, io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
for path, mode, module, *words in json.loads(sys.argv[1]):
    os.chmod(path, mode)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
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
    retrain, dashboard = ["nas.retrain", str(run), "--front"], ["nas.dashboard", str(run), "--no-browser"]
    cases = [
        (database, 0o400, resume, f"{database} cannot be written; get the right to"),
        (run, 0o500, resume, f"{run} cannot be written; get the right to"),
        (run, 0o500, report, f"{run} cannot be written; choose another folder with -o"),
        (run, 0o500, retrain, f"{run} cannot be written, where trainings are kept; retrain in a copy of it"),
        (run, 0o500, dashboard, f"{database} cannot be opened: attempt to write a readonly database"),
        (database, 0o000, report, f"{database} cannot be read: unable to open database file"),
    ]
    found = said(*[(str(path), mode, *words) for path, mode, words, _ in cases])
    for (code, message), (*_, expected) in zip(found, cases, strict=True):
        assert code == 2
        assert expected in message
        assert len(message.splitlines()) == 1
    assert all(file.read_bytes() == content for file, content in before.items())


@pytest.mark.parametrize("times", [None, 2])
def test_a_run_that_may_only_be_read_is_reported_and_exported_elsewhere(finished_search, tmp_path, times):
    """Also while another person's search goes on in it, whose results are `times` as good now."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(finished_search / "run", run)
    number = read_history(RunDirectory(run)).front()[0].number
    with closing(sqlite3.connect(run / "study.db")) as writer:
        if times:
            writer.execute(f"UPDATE trial_values SET value = {times} * value WHERE objective = 0")
            writer.commit()
        before = {file: file.read_bytes() for file in run.rglob("*.*") if file.suffix != ".db-shm"}
        words = [str(run), "--trial", str(number), "-o", str(elsewhere / "model")]
        found = said(
            (str(run), 0o500, "nas.report", str(run), "-o", str(elsewhere)),
            (str(run), 0o500, "nas.export", *words),
        )
        assert found == [[0, ""], [0, ""]]
        assert all(file.read_bytes() == content for file, content in before.items())
    for name in ("report.html", "pareto.png", "pareto.csv", "trials.csv"):
        assert (elsewhere / name).stat().st_size > 0
    first, now = (
        [member["values"]["accuracy"] for member in json.loads((folder / "pareto.json").read_text())]
        for folder in (run, elsewhere)
    )
    assert now == [(times or 1) * value for value in first]
    assert list((elsewhere / "model").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, "error: some/file: Permission denied; get the right to it, or choose another"),
        (errno.EROFS, "error: some/file: Read-only file system; get the right to it, or choose another"),
        (errno.ENOSPC, "error: some/file: No space left on device; make room, or choose another"),
        (errno.ENAMETOOLONG, "error: some/file: File name too long; choose another file or folder"),
    ],
)
def test_what_the_system_refuses_a_command_is_one_line(capsys, number, expected):
    def refused(argv):
        raise OSError(number, os.strerror(number), "some/file")

    assert run_command(refused) == 2
    assert expected in capsys.readouterr().err


def test_what_goes_wrong_in_a_plugin_is_the_plugins_and_one_line_says_where(capsys, tmp_path):
    plugin = tmp_path / "clueless.py"
    plugin.write_text(CLUELESS)
    assert not load_plugins([plugin])
    assert run_command(lambda argv: create("sampler", "clueless").propose(None, None, 0)) == 2
    said = f"error: {plugin}:8: the plugin has failed: RuntimeError: no idea at all; mend it, and continue a "
    assert capsys.readouterr().err == f"{said}search with --resume\n"


def test_what_else_the_system_says_is_a_failure_of_ours(capsys):
    def lost(argv):
        raise FileNotFoundError(errno.ENOENT, "No such file", "some/file")

    assert run_command(lost) == 1
    assert "failure of nas" in capsys.readouterr().err
