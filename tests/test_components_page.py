"""`docs/components.md` lists every component as it is."""

from pathlib import Path

import nas
from nas import catalogue
from nas.registry import KINDS

PAGE = Path(__file__).parents[1] / "docs" / "components.md"


def test_the_page_is_up_to_date():
    stale = f"docs/components.md is not up to date: run {catalogue.COMMAND}"
    assert catalogue.markdown() == PAGE.read_text(encoding="utf-8"), stale


def test_every_component_has_a_row():
    page = PAGE.read_text(encoding="utf-8")
    for kind in KINDS:
        table = page.split(f"\n## {kind}\n")[1].split("\n## ")[0]
        assert all(f"\n| `{name}` | " in table for name in catalogue.own(kind))


def test_every_encoder_fusion_and_head_names_its_paper_but_the_plainest():
    parts = [(kind, name) for kind in ("encoder", "fusion", "head") for name in catalogue.own(kind)]
    without = {name for kind, name in parts if not catalogue.paper(nas.get(kind, name))}
    assert without == {"identity", "linear"}


def test_a_plugin_is_not_on_the_page_of_the_package():
    nas.register("fusion", "mine")(type("Mine", (), {"__doc__": "Mine.", "__module__": "mine"}))
    assert "mine" in nas.available("fusion")
    assert catalogue.markdown() == PAGE.read_text(encoding="utf-8")


def test_a_row_has_the_count_of_its_formula_and_its_paper():
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `gmu`"))
    assert f" {3 * 64 * 64 + 3 * 3 * 64 * 64:,} " in row  # a d × d and a 3d × d matrix per modality
    assert "Arevalo et al., [arXiv 1702.01992](https://arxiv.org/abs/1702.01992)" in row
