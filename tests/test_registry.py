"""Registering, looking up and discovering components."""

import json
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import nas
from nas import registry
from nas.registry import load_plugins


def python(code: str, *paths) -> str:
    """What a fresh interpreter prints."""
    code = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plugin(file, body: str):
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"import nas\n{textwrap.dedent(body)}")
    return file


def component(kind: str, name: str, *, override: bool = False) -> str:
    return f"""
@nas.register({kind!r}, {name!r}, override={override})
class {name.title()}:
    '''A component.'''
"""


def test_a_registered_class_is_listed_got_and_created():
    @nas.register("pruner", "patient")
    class Patient:
        """Waits."""

        def __init__(self, epochs: int = 3) -> None:
            self.epochs = epochs

    assert "patient" in nas.available("pruner")
    assert nas.get("pruner", "patient") is Patient
    assert nas.create("pruner", "patient").epochs == 3
    assert nas.create("pruner", "patient", epochs=5).epochs == 5


def test_available_is_sorted():
    assert nas.available("fusion") == sorted(nas.available("fusion"))
    assert len(nas.available("fusion")) > 5


def test_registering_a_name_twice_is_an_error_and_changes_nothing():
    late = nas.get("fusion", "late")
    with pytest.raises(ValueError, match=r"fusion 'late' is registered already, by .*LateFusion.*override"):

        @nas.register("fusion", "late")
        class Mine:
            """Mine."""

    assert nas.get("fusion", "late") is late


def test_the_same_name_may_be_used_in_two_kinds():
    assert "small_world" in nas.available("fusion")
    assert "small_world" in nas.available("connector")
    assert nas.get("fusion", "small_world") is not nas.get("connector", "small_world")


def test_override_replaces():
    @nas.register("fusion", "late", override=True)
    class Mine:
        """Mine."""

    assert nas.get("fusion", "late") is Mine


def test_a_module_that_is_imported_again_may_register_again():
    def define():
        @nas.register("head", "again")
        class Again:
            """Again."""

        return Again

    define()
    second = define()
    assert nas.get("head", "again") is second


def test_an_unknown_name_lists_the_near_misses_and_all_names():
    with pytest.raises(nas.RequestError) as caught:
        nas.get("fusion", "cros_modal")
    message = str(caught.value)
    assert "there is no fusion 'cros_modal'" in message
    assert "did you mean 'cross_modal'" in message
    assert all(name in message for name in nas.available("fusion"))


@pytest.mark.parametrize("look_up", [nas.available, lambda kind: nas.get(kind, "x"), nas.register])
def test_an_unknown_kind_lists_the_kinds(look_up):
    with pytest.raises(ValueError, match=r"'fusoin' is not a kind.*did you mean 'fusion'.*topology"):
        look_up("fusoin", "x") if look_up is nas.register else look_up("fusoin")


def test_create_names_an_unknown_hyper_parameter():
    with pytest.raises(nas.RequestError, match=r"connector 'small_world' has no.*'layer'.*mean 'layers'"):
        nas.create("connector", "small_world", dims=[8, 8], layer=2)


@pytest.mark.parametrize(
    ("source", "options", "needed"), [(("data.csv",), {}, "label"), ((), {"label": "kind"}, "source")]
)
def test_create_names_a_hyper_parameter_that_has_no_value(source, options, needed):
    with pytest.raises(nas.RequestError, match=f"dataset 'manifest' needs '{needed}', which has no default"):
        nas.create("dataset", "manifest", *source, **options)


@pytest.mark.parametrize("topology", ["ring", {"ring": {"k": 4}}, {"ring": {}}, {"ring": None}])
def test_create_makes_nested_components(topology):
    connector = nas.create("connector", "small_world", dims=[8, 8], topology=topology)
    assert len(connector.layers[0].edges) == 16 * 4


@pytest.mark.parametrize("topology", [{}, {"ring": {}, "watts_strogatz": {}}])
def test_create_refuses_what_names_no_single_nested_component(topology):
    with pytest.raises(nas.RequestError, match="is no topology; give its name"):
        nas.create("connector", "small_world", dims=[8, 8], topology=topology)


def test_plugins_come_from_files_and_from_folders(tmp_path):
    plugin(tmp_path / "one.py", component("head", "one"))
    plugin(tmp_path / "folder" / "two.py", component("head", "two"))
    plugin(tmp_path / "folder" / "_hidden.py", component("head", "hidden"))
    (tmp_path / "folder" / "notes.txt").write_text("no Python")
    assert load_plugins([tmp_path / "one.py", tmp_path / "folder"]) == []
    assert {"one", "two"} <= set(nas.available("head"))
    assert "hidden" not in nas.available("head")


def test_a_plugin_named_twice_is_loaded_once(tmp_path):
    file = plugin(tmp_path / "one.py", component("head", "one"))
    assert load_plugins([file, tmp_path, file]) == []


def test_plugins_of_the_same_file_name_do_not_collide(tmp_path):
    files = [plugin(tmp_path / folder / "mine.py", component("head", folder)) for folder in ("left", "right")]
    assert load_plugins(files) == []
    assert {"left", "right"} <= set(nas.available("head"))


def test_a_plugin_path_that_is_not_there_is_a_wrong_request(tmp_path):
    with pytest.raises(nas.RequestError, match=r"absent\.py does not exist"):
        load_plugins([tmp_path / "absent.py"])


BROKEN = {
    "an exception": ("raise RuntimeError('no graphics card')", "RuntimeError: no graphics card"),
    "a missing module": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "a syntax error": ("def (", "SyntaxError"),
    "an exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "an unknown kind": (component("fusoin", "x"), "did you mean 'fusion'"),
    "a name that a built-in has": (component("fusion", "late"), "fusion 'late' is registered already"),
}


@pytest.mark.parametrize("body", BROKEN)
def test_a_plugin_that_fails_is_named_with_its_error_and_takes_no_other_down(tmp_path, body):
    text, error = BROKEN[body]
    plugin(tmp_path / "a.py", component("head", "before"))
    file = plugin(tmp_path / "b.py", text)
    plugin(tmp_path / "c.py", component("head", "after"))
    [failure] = load_plugins([tmp_path])
    assert failure.plugin == str(file)
    assert error in failure.error
    assert str(file) in str(failure)
    assert {"before", "after"} <= set(nas.available("head"))


def test_a_plugin_that_fails_leaves_nothing_half_registered(tmp_path):
    late = nas.get("fusion", "late")
    body = component("head", "half") + component("fusion", "late", override=True) + "raise RuntimeError"
    file = plugin(tmp_path / "half.py", body)
    for _ in range(2):  # trying again is no clash with a leftover of the first time
        [failure] = load_plugins([file])
        assert "RuntimeError" in failure.error
        assert "half" not in nas.available("head")
        assert nas.get("fusion", "late") is late
    plugin(file, component("head", "half"))
    assert load_plugins([file]) == []
    assert "half" in nas.available("head")


def test_a_failing_plugin_does_not_take_the_built_ins_it_was_first_to_import():
    code = """
    from pathlib import Path; import tempfile, nas
    from nas.registry import load_plugins
    file = Path(tempfile.mkdtemp()) / "p.py"
    file.write_text("import nas\\n@nas.register('topology', 'mine')\\nclass M: pass\\nraise RuntimeError")
    assert len(load_plugins([file])) == 1
    print(nas.available("topology"))
    """
    names = python(code)
    assert "watts_strogatz" in names
    assert "mine" not in names


def test_kinds_whose_built_ins_fail_to_import_are_not_taken_for_complete(monkeypatch):
    monkeypatch.setitem(registry.KINDS, "ghost", registry.Kind("nas.no_such_package"))
    monkeypatch.setitem(registry._components, "ghost", {})
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            nas.available("ghost")


def test_installed_packages_announce_plugins_by_entry_points(tmp_path):
    plugin(tmp_path / "good_plugin" / "__init__.py", component("topology", "announced"))
    plugin(tmp_path / "bad_plugin.py", component("topology", "lost") + "raise RuntimeError('no luck')")
    info = tmp_path / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nas.plugins]\nbad = bad_plugin\ngood = good_plugin\n")
    code = """
    import json, nas
    from nas.registry import load_entry_points
    failures = [str(failure) for failure in load_entry_points()]
    print(json.dumps({"failures": failures, "names": nas.available("topology")}))
    """
    answer = json.loads(python(code, tmp_path))
    assert "announced" in answer["names"]
    assert "lost" not in answer["names"]
    assert answer["failures"] == ["plugin bad (bad_plugin) failed to import: RuntimeError: no luck"]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("nas", ["torch", "optuna", "ray", "pydantic", "numpy"]),
        ("nas.registry, nas.errors, nas.cli, nas.seeds", ["torch", "optuna", "ray", "pydantic", "numpy"]),
        (
            "nas.space, nas.space.assemble, nas.topologies.watts_strogatz, nas.topologies.segmented",
            ["torch", "optuna", "ray", "pydantic"],
        ),
        ("nas.experiment, nas.documents", ["torch", "optuna", "ray"]),
        ("nas.__main__, nas.search.__main__, nas.components", ["torch", "optuna", "ray", "pydantic"]),
    ],
)
def test_what_is_imported_stays_light(modules, heavy):
    code = f"import {modules}; print([name for name in {heavy} if name in sys.modules])"
    assert python(code).strip() == "[]"


def test_topologies_are_listed_without_torch():
    code = "import nas; print(len(nas.available('topology')) > 2, 'torch' in sys.modules)"
    assert python(code).split() == ["True", "False"]


def test_a_thread_that_asks_while_another_one_imports_sees_all_components(tmp_path, monkeypatch):
    package = tmp_path / "unhurried"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("first", "second"):
        (package / f"{name}.py").write_text(
            "import time, nas\n"
            f"@nas.register('unhurried', '{name}')\n"
            "class Component: pass\n"
            "time.sleep(0.2)\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.KINDS, "unhurried", registry.Kind("unhurried"))
    monkeypatch.setitem(registry._components, "unhurried", {})
    with ThreadPoolExecutor() as pool:
        seen = [pool.submit(nas.available, "unhurried")]
        while "unhurried.first" not in sys.modules:
            time.sleep(0.001)
        seen.append(pool.submit(nas.available, "unhurried"))
        assert [one.result() for one in seen] == [["first", "second"]] * 2
    registry._complete.discard("unhurried")


def test_of_threads_that_load_a_plugin_at_once_one_executes_it_and_the_others_wait(tmp_path):
    executed = tmp_path / "executed"
    file = plugin(tmp_path / "slow.plugin.py", unhurried(executed) + component("head", "slow"))

    def load():
        assert load_plugins([file]) == []
        return "slow" in nas.available("head")

    assert at_once(load, executed) == [True, True]
    assert executed.read_text() == "once "


def test_of_threads_that_load_plugins_at_once_each_takes_back_what_it_has_registered(tmp_path):
    executed = tmp_path / "executed"
    half = component("head", "half") + component("fusion", "late", override=True)
    failing = plugin(tmp_path / "failing.py", half + unhurried(executed) + "raise RuntimeError")
    good = plugin(tmp_path / "good.py", component("head", "good"))
    late = nas.get("fusion", "late")
    with ThreadPoolExecutor() as pool:
        first, second = (pool.submit(load_plugins, [failing]) for _ in range(2))
        wait_for(executed)
        assert load_plugins([good]) == []
        assert [len(one.result()) for one in (first, second)] == [1, 1]
    assert {"good", "half"} & set(nas.available("head")) == {"good"}
    assert nas.get("fusion", "late") is late


def unhurried(executed) -> str:
    """A part of a plugin that notes that it is executed, and takes its time."""
    return f"import time\nwith open({str(executed)!r}, 'a') as file: file.write('once ')\ntime.sleep(0.3)\n"


def at_once(work, begun):
    """What two threads come to, of which the second begins once there is a file."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(work)
        wait_for(begun)
        second = pool.submit(work)
        return [first.result(), second.result()]


def wait_for(file) -> None:
    while not file.exists():
        time.sleep(0.001)
