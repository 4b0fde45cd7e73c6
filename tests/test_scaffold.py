"""`python -m nas.components --new`: what it writes works and keeps its contract, and nothing is replaced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas.components import main
from nas.registry import KINDS

ROOT = Path(__file__).parents[1]


def new(kind: str, name: str, folder: Path) -> int:
    return main(["--new", kind, name, "--into", str(folder)])


@pytest.fixture(scope="module")
def plugins(tmp_path_factory) -> Path:
    """A folder with a plugin of every kind."""
    folder = tmp_path_factory.mktemp("written") / "plugins"
    for kind in KINDS:
        assert new(kind, f"my_{kind}", folder) == 0
    return folder


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_plugin_of_every_kind_passes_its_own_test(plugins):
    done = run("pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=plugins)
    assert done.returncode == 0, done.stdout
    assert f"{len(KINDS)} passed" in done.stdout


def test_what_is_written_has_the_style_of_this_project_and_of_ruff(plugins):
    for rules in (["--config", str(ROOT / "pyproject.toml")], ["--isolated", "--line-length", "110"]):
        for command in (["check"], ["format", "--check"]):
            done = run("ruff", *command, "--no-cache", *rules, str(plugins), cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_is_found_and_searched(plugins, capsys):
    assert main(["fusion", "--plugins", str(plugins)]) == 0
    assert "  my_fusion: Sum over the modalities that are there" in capsys.readouterr().out
    dataset = nas.load_dataset("my_dataset", samples=20)
    assert len(dataset.splits["test"]) == 20


@pytest.mark.parametrize(("kind", "article"), [("head", "a"), ("encoder", "an")])
def test_the_command_says_what_comes_next(tmp_path, capsys, kind, article):
    assert new(kind, "my_own", tmp_path) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path / 'my_own.py'} holds {article} {kind} that works: change it, and keep its contract:\n"
        f"python -m pytest {tmp_path / 'tests' / 'test_my_own.py'}\n"
    )


@pytest.mark.parametrize("existing", ["mine.py", "tests/test_mine.py"])
def test_nothing_is_overwritten(tmp_path, capsys, existing):
    file = tmp_path / existing
    file.parent.mkdir(exist_ok=True)
    file.write_text("precious")
    assert new("head", "mine", tmp_path) == 2
    assert f"error: {file} exists already" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "precious"


@pytest.mark.parametrize("below", ["", "plugins"])
def test_a_file_where_the_folder_should_be_is_named(tmp_path, capsys, below):
    file = tmp_path / "mine"
    file.write_text("precious")
    assert new("head", "my_own", file / below) == 2
    assert capsys.readouterr().err.startswith(f"error: {file / below}: ")
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("fusoin", "mine", "'fusoin' is not a kind of component; did you mean 'fusion'"),
        ("fusion", "late", "there is a fusion 'late' already; choose another name"),
        ("fusion", "My-Own", "'My-Own' cannot name a component; give a word like my_fusion"),
        ("fusion", "class", "'class' cannot name a component"),
        ("fusion", "../escape", "'../escape' cannot name a component"),
    ],
)
def test_a_wrong_kind_or_name_writes_nothing(tmp_path, capsys, kind, name, message):
    assert new(kind, name, tmp_path / "plugins") == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "plugins").exists()
