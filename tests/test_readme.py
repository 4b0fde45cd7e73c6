"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest
import yaml

from nas.search.__main__ import main as search
from nas.search.setup import prepare

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def named_block(name: str) -> str:
    [block] = [block for block in blocks("(?:python|yaml)") if block.startswith(f"# {name}")]
    return block


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [block for block in blocks("python") if block.startswith("import torch")]
    exec(compile(example, "README.md", "exec"), {})
    assert "95.8%" in capsys.readouterr().out


def test_the_experiment_and_the_space_are_accepted(tmp_path: Path) -> None:
    for folder in ("experiments", "search_spaces"):
        (tmp_path / folder).mkdir()
    (tmp_path / "search_spaces/ws.yaml").write_text((ROOT / "search_spaces/ws.yaml").read_text())
    (tmp_path / "search_spaces/mine.yaml").write_text(named_block("search_spaces/mine.yaml"))
    experiment = tmp_path / "experiments/mine.yaml"
    experiment.write_text(named_block("experiments/mine.yaml"))
    assert prepare(experiment, []).experiment.constraints == {"parameters": "<= 200000"}
    assert prepare(experiment, ["space.dim=16"]).experiment.space["dim"] == 16
    own_space = experiment.read_text().replace("search_spaces/ws.yaml", "search_spaces/mine.yaml")
    experiment.write_text(own_space)
    assert "small_world" in str(prepare(experiment, []).experiment.space["connector"])


def test_the_fusion_plugin_and_the_dataset_plugin_are_searched_without_touching_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my_fusion.py", "my_data.py"):
        Path(name).write_text(named_block(name))
    experiment = {
        "data": {"my_data": {"samples": 40}},
        "plugins": ["my_fusion.py", "my_data.py"],
        "space": {"present": "all", "dim": 16, "connector": "none", "fusion": "maximum", "head": "linear"},
        "search": {"trials": 2},
        "training": {"epochs": 1},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(experiment))
    assert search(["mine.yaml", "--workers", "1"]) == 0
    assert "complete" in Path("runs/mine/trials.csv").read_text()
    assert '"maximum"' in Path("runs/mine/pareto.json").read_text()


def test_the_plugin_keeps_the_contract(tmp_path: Path) -> None:
    from nas.components import main as components

    file = tmp_path / "my_fusion.py"
    file.write_text(named_block("my_fusion.py"))
    assert components(["fusion", "--check", "maximum", "--plugins", str(file)]) == 0


def test_the_fusion_plugin_is_about_fifteen_lines() -> None:
    code = [line for line in named_block("my_fusion.py").splitlines() if line and not line.startswith("#")]
    assert len(code) <= 16


@pytest.mark.parametrize(
    "experiment", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_shipped_experiment_is_accepted(experiment: Path) -> None:
    assert prepare(experiment, []).space.size >= 1


def test_every_shipped_plugin_keeps_the_contract() -> None:
    from nas.components import main as components

    assert components(["fusion", "--check", "dropout_mean", "--plugins", str(ROOT / "plugins")]) == 0
