"""`constraints.txt`: what is pinned can be installed wherever the package can."""

import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_what_is_pinned_runs_on_the_oldest_python_that_is_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"  # Debian has one of the first of its line
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    asked = {
        (one.name.lower(), one.version): SpecifierSet(one.metadata.get("Requires-Python") or "")
        for one in distributions()
    }
    names = {(pin.name.lower(), str(pin.specifier).removeprefix("==")) for pin in pinned}
    assert len(names & asked.keys()) > 20
    assert [pin for pin in sorted(names & asked.keys()) if oldest not in asked[pin]] == []
