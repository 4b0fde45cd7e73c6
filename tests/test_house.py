"""The shape of the house, read from its source: imports run one way, and the engine names no component."""

import ast
from pathlib import Path

import pytest

import nas

PACKAGE = Path(nas.__file__).parent
FILES = {
    ".".join(("nas", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in FILES.items()}

ROOMS = (
    "space",
    "topologies",
    "registry",
    "experiment",
    "documents",
    "errors",
    "files",
    "modality",
    "seeds",
    "checks",
)
TORCHLESS = {f"nas.{room}" for room in ROOMS}
ABOVE = {f"nas.{room}" for room in ["search", "training", "network", "results"]}
COMPONENT_KINDS = ("encoder", "fusion", "connector", "head", "topology", "rewiring")
ROOMS_OF_COMPONENTS = {"nas.encoders", "nas.fusions", "nas.connectors", "nas.heads", "nas.rewirings"}
GENERIC = {"none", "linear", "attention", "random", "identity"}  # words that also mean something else


def within(module: str, rooms) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def imported(module: str) -> set[str]:
    """Modules and names that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_of(*rooms: str) -> list[str]:
    found = [module for module in TREES if within(module, rooms)]
    assert found
    return found


@pytest.mark.parametrize("module", modules_of(*TORCHLESS))
def test_what_is_above_the_line_imports_no_torch(module):
    assert not [name for name in imported(module) if within(name, {"torch"})]


@pytest.mark.parametrize("module", modules_of(*TORCHLESS))
def test_what_is_above_the_line_knows_nothing_of_what_uses_it(module):
    assert not [
        name for name in imported(module) if within(name, ABOVE | ROOMS_OF_COMPONENTS | {"nas.sparse"})
    ]


def test_nothing_but_the_search_imports_the_search():
    importing = {module for module in TREES if any(within(name, {"nas.search"}) for name in imported(module))}
    assert {module for module in importing if not within(module, {"nas.search"})} == set()


def test_the_results_do_not_know_who_writes_them():
    for module in modules_of("nas.results"):
        assert not [name for name in imported(module) if within(name, {"nas.search", "ray"})], module


def test_only_samplers_and_storage_know_optuna():
    knowing = {module for module in TREES if any(within(name, {"optuna"}) for name in imported(module))}
    assert {module for module in knowing if not within(module, {"nas.search", "nas.results"})} <= {
        "nas.dashboard"
    }


def test_libraries_that_take_seconds_to_import_are_imported_where_they_are_needed():
    slow = {"optuna_dashboard", "optuna.importance", "sklearn", "pandas", "transformers", "torch._dynamo"}
    for module in TREES.keys() - {"nas.datasets.avt_digits.build"}:  # which a person runs, once
        top = [n for n in TREES[module].body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or alias.name for node in top for alias in node.names}
        assert not [name for name in names if within(name, slow)], module


@pytest.mark.parametrize("module", modules_of("nas.training", "nas.network", "nas.sparse"))
def test_networks_and_training_know_no_study(module):
    assert not [
        name for name in imported(module) if within(name, {"nas.search", "nas.results", "optuna", "ray"})
    ]


def engine() -> list[str]:
    search = [module for module in modules_of("nas.search") if FILES[module].parent == PACKAGE / "search"]
    return [*search, *modules_of("nas.space", "nas.training", "nas.network", "nas.evaluation")]


def component_names() -> set[str]:
    names = {name for kind in COMPONENT_KINDS for name in nas.available(kind)} - GENERIC
    assert {"cross_modal", "watts_strogatz", "cnn", "small_world"} <= names
    return names


@pytest.mark.parametrize("module", engine())
def test_the_engine_names_no_component(module):
    literals = {
        node.value
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not literals & component_names()


@pytest.mark.parametrize("module", engine())
def test_the_engine_imports_no_component(module):
    rooms = ROOMS_OF_COMPONENTS
    assert not [name for name in imported(module) if within(name, rooms)]


@pytest.mark.parametrize("module", [module for module in TREES if not module.endswith("__main__")])
def test_a_module_says_what_it_is_for(module):
    assert ast.get_docstring(TREES[module])
