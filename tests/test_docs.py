"""What the guides in `docs/` show works as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.datasets import load_dataset
from nas.search.setup import prepare
from nas.space.assemble import SLOTS, assemble

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))

guides = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def mappings(guide: Path) -> list[dict[str, Any]]:
    return [data for block in blocks(guide, "yaml") if isinstance(data := yaml.safe_load(block), dict)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the repository's root, to run a guide in: spaces, experiments, plugins."""
    for folder in ("search_spaces", "experiments", "plugins"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_named(guide: Path) -> None:
    """Write the blocks that begin with a comment that names their file."""
    for block in blocks(guide, "(?:python|yaml)"):
        named = re.match(r"# ([\w./-]+\.(?:py|yaml))\b", block)
        if named:
            Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(named[1]).write_text(block)


@guides
def test_the_python_blocks_run_one_after_another(guide: Path, workplace: Path) -> None:
    names: dict[str, Any] = {"__name__": guide.stem}
    for number, block in enumerate(blocks(guide, "python"), start=1):
        exec(compile(block, f"{guide.name}, python block {number}", "exec"), names)


@guides
def test_the_spaces_are_accepted(guide: Path, workplace: Path) -> None:
    modalities = load_dataset("avt_digits").modalities
    for space in mappings(guide):
        if set(space) <= set(SLOTS):
            assert assemble(space, modalities).size >= 1


@guides
def test_the_experiments_are_accepted(guide: Path, workplace: Path) -> None:
    write_named(guide)
    for number, experiment in enumerate(mappings(guide)):
        if "data" in experiment:
            file = workplace / "experiments" / f"block{number}.yaml"
            file.write_text(yaml.safe_dump(experiment))
            assert prepare(file, []).space.size >= 1
