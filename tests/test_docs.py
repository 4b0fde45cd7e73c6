"""What the guides in `docs/` show works as it stands there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.datasets import load_dataset
from nas.registry import load_plugins
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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def named_file(block: str) -> Path | None:
    """The file that a block is, where it begins with a comment that names one."""
    found = re.match(r"# ([\w./-]+\.(?:py|yaml))\b", block)
    return Path(found[1]) if found else None


@guides
def test_the_python_blocks_run_one_after_another_and_the_experiments_are_accepted(
    guide: Path, workplace: Path
) -> None:
    for block in blocks(guide, "(?:python|yaml)"):
        if file := named_file(block):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block)
    names: dict[str, Any] = {"__name__": guide.stem}
    for number, block in enumerate(blocks(guide, "python"), start=1):
        if file := named_file(block):  # a plugin, which experiments name as well
            assert load_plugins([file]) == []
        else:
            exec(compile(block, f"{guide.name}, python block {number}", "exec"), names)
    for number, experiment in enumerate(mappings(guide)):
        if "data" in experiment:
            file = workplace / "experiments" / f"block{number}.yaml"
            file.write_text(yaml.safe_dump(experiment, sort_keys=False))
            assert prepare(file, []).space.size >= 1


@guides
def test_the_spaces_are_accepted(guide: Path, workplace: Path) -> None:
    modalities = load_dataset("avt_digits").modalities
    for space in mappings(guide):
        if set(space) <= set(SLOTS):
            assert assemble(space, modalities).size >= 1
