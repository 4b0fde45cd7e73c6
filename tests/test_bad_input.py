"""A wrong request ends in exit code 2 and one line that says what, where and what is allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import nas.__main__
from nas.registry import available, create, get, hyper_parameters
from nas.results.run_directory import RunDirectory
from nas.search.__main__ import main
from nas.search.setup import prepare


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, but for the byte code that Python leaves beside plugins."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run `python -m nas.search` in `tmp_path`, expect it to refuse, and return its one line."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments, command=main) -> str:
        before = tree(tmp_path)
        code = command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 2, err
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert tree(tmp_path) == before, "something was left behind"
        return err

    return refused


# The file


def test_a_file_that_is_not_there(refused):
    assert "absent.yaml: there is no such file" in refused("absent.yaml")


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file(refused, tmp_path, content):
    (tmp_path / "e.yaml").write_text(content)
    assert "e.yaml: the file is empty; it must hold a mapping of keys" in refused("e.yaml")


def test_a_folder_in_place_of_a_file(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    message = refused("folder")
    assert "folder: cannot be read" in message
    assert "Is a directory" in message


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", b"name: a\x00b\n", bytes(range(256))])
def test_a_binary_file(refused, tmp_path, content):
    (tmp_path / "e.yaml").write_bytes(content)
    message = refused("e.yaml")
    assert "e.yaml: cannot be read: 'utf-8' codec" in message or "e.yaml: not valid YAML" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("data: toy\nsearch: {trials: 3\n", "e.yaml:3: not valid YAML: "),
        ("data: toy\n\tname: x\n", "e.yaml:2: not valid YAML: found character '\\t'"),
        ("data: toy\ndata: toy\n", "e.yaml:2: not valid YAML: the key 'data' is given twice"),
        ("data: toy\n? [a]\n: b\n", "e.yaml:2: not valid YAML: a mapping or a list cannot be a key"),
        (
            "data: !!python/object:os.system x\n",
            "e.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("data: !!bool maybe\n", "e.yaml: not valid YAML: "),
        ("data: 2024-99-99\n", "e.yaml: not valid YAML: month must be in 1..12"),
        ("data: toy\nspace: &a {dim: *a}\n", "e.yaml:2: not valid YAML: an alias leads back into itself"),
        ("data: toy\nspace: {dim: &a [*a]}\n", "e.yaml:2: not valid YAML: an alias leads back into itself"),
        ("data: " + "[" * 5000, "e.yaml: not valid YAML"),
        ("- data\n- space\n", "e.yaml: holds list, not a mapping of keys to values"),
        ("just text\n", "e.yaml: holds str, not a mapping"),
    ],
    ids=lambda value: value[:24],
)
def test_yaml_that_cannot_be_read(refused, tmp_path, text, place):
    (tmp_path / "e.yaml").write_text(text)
    assert place in refused("e.yaml")


def test_a_space_file_that_is_not_there_is_named_at_its_key(refused, write_experiment):
    message = refused(write_experiment(space="spaces/absent.yaml"))
    assert "toy.yaml:5: space: " in message
    assert "spaces/absent.yaml: there is no such file" in message


def test_an_error_in_a_space_file_names_that_file_and_its_line(refused, write_experiment, tmp_path):
    (tmp_path / "s.yaml").write_text("dim: 16\nfusion:\n  choice:\n    - late\n    - ladder\n")
    message = refused(write_experiment(space="s.yaml"))
    assert "/s.yaml:3: space.fusion.choice: there is no fusion 'ladder'" in message
    (tmp_path / "s.yaml").write_text("dim: 16\nfusion: [\n")
    message = refused(write_experiment(space="s.yaml"))
    assert "/s.yaml:3: not valid YAML" in message


OPTIONS = [
    (kind, name, option)
    for kind in ("sampler", "pruner")
    for name in available(kind)
    for option in hyper_parameters(kind, get(kind, name))
]


@pytest.mark.parametrize(("kind", "name", "option"), OPTIONS)
@pytest.mark.parametrize("value", ["many", -1, float("nan"), True, [2]])
def test_an_option_of_a_sampler_or_a_pruner_that_makes_no_sense(kind, name, option, value):
    with pytest.raises(ValueError, match=f"{option} must be a .*, not "):
        create(kind, name, **{option: value})


# What it says

SPACE = yaml.safe_load(
    "{present: all, dim: 8, encoders: {image: {cnn: {width: 8}}}, connector: none, head: linear}"
)

WRONG = {
    "an unknown key": (
        {"serch": {}},
        ["serch: 'serch' is not a key here; did you mean 'search'?", "plugins"],
    ),
    "an unknown key below": (
        {"search": {"trails": 3}},
        [
            "search.trails: 'trails' is not a key here; did you mean 'trials'? "
            "Allowed: inheritance, lease, pruner, racing"
        ],
    ),
    "no data": ({"data": None}, ["the key 'data' is missing; name a dataset"]),
    "a key that is no text": ({3: 4}, ["3: 3 is not allowed: Keys should be strings"]),
    "text for a number": (
        {"search": {"trials": "many"}},
        ["search.trials: 'many' is not allowed: should be a valid int"],
    ),
    "a fraction for a whole number": ({"search": {"trials": 4.5}}, ["search.trials: 4.5", "valid integer"]),
    "true for a number": ({"search": {"seed": True}}, ["search.seed: True", "valid integer"]),
    "too small a number": ({"search": {"trials": 0}}, ["search.trials: 0", "greater than or equal to 1"]),
    "not a number": (
        {"training": {"learning_rate": float("nan")}},
        ["training.learning_rate: nan", "finite"],
    ),
    "a list for a mapping": (
        {"objectives": ["accuracy"]},
        ["objectives: ['accuracy']", "mapping of keys to values"],
    ),
    "a number for a section": (
        {"search": 3},
        ["search: 3 is not allowed: should be a mapping of keys to values"],
    ),
    "a number for a space": ({"space": 3}, ["space: 3 is not allowed: should be a mapping"]),
    "a word of none allowed": (
        {"training": {"schedule": "cosin"}},
        ["training.schedule: 'cosin'", "'cosine' or 'constant'"],
    ),
    "a backend that is not there": (
        {"execution": {"backend": "cluster"}},
        ["execution.backend: 'cluster'", "'local'"],
    ),
    "a search that stops before it starts": (
        {"search": {"stop": {"epochs": 0}}},
        ["search.stop.epochs: 0 is not allowed: should be greater than or equal to 1"],
    ),
    "an unknown reason to stop": (
        {"search": {"stop": {"second": 10}}},
        ["search.stop.second: 'second' is not a key here; did you mean 'seconds'?"],
    ),
    "a time limit of nothing": (
        {"execution": {"time_limit": 0}},
        ["execution.time_limit: 0 is not allowed: should be greater than 0"],
    ),
    "retries of an unknown kind": (
        {"execution": {"retries": {"lost_workers": 1}}},
        ["execution.retries.lost_workers: 'lost_workers' is not a key here; did you mean 'lost_worker'?"],
    ),
    "retries in the negative": (
        {"execution": {"retries": {"nan": -1}}},
        ["execution.retries.nan: -1 is not allowed: should be greater than or equal to 0"],
    ),
    "workers in words": (
        {"execution": {"workers": "many"}},
        ["execution.workers: 'many'", "integer or should be 'auto'"],
    ),
    "a single device": (
        {"execution": {"devices": 0}},
        ["execution.devices: 0 is not allowed: should be 'auto' or should be a valid list"],
    ),
    "a name that is no file name": (
        {"name": "a b/c"},
        ["name: 'a b/c' is not allowed: give letters, digits"],
    ),
    "an empty domain": (
        {"space": SPACE | {"dim": {"choice": []}}},
        ["space.dim: a choice needs at least one option"],
    ),
    "an inverted domain": (
        {"space": SPACE | {"dim": {"int": [64, 16]}}},
        ["space.dim: the domain [64, 16] is empty: low must not be greater than high"],
    ),
    "a logarithm from zero": (
        {"space": SPACE | {"head": {"mlp": {"dropout": {"float": [0, 0.5], "log": True}}}}},
        ["space.head.mlp.dropout: a logarithmic domain starts above 0, not at 0"],
    ),
    "a domain of another type": (
        {"space": SPACE | {"encoders": {"image": {"cnn": {"width": {"float": [0.1, 2]}}}}}},
        ["space.encoders.image.cnn.width: ", "does not fit; the component's own domain is 8…64 log"],
    ),
    "an unknown slot": ({"space": SPACE | {"fusoin": "late"}}, ["space.fusoin: ", "did you mean 'fusion'?"]),
    "an unknown component": (
        {"space": SPACE | {"fusion": "concatt"}},
        ["space.fusion: there is no fusion 'concatt'; did you mean 'concat'? Allowed: attention"],
    ),
    "an unknown setting": (
        {"space": SPACE | {"encoders": {"image": {"cnn": {"widht": 3}}}}},
        ["space.encoders.image.cnn.widht: 'widht' is not a key here; did you mean 'width'?"],
    ),
    "a fusion for another number of modalities": (
        {"space": SPACE | {"fusion": "of_three"}, "plugins": ["toy.py", "three.py"]},
        ["space.fusion: fusion 'of_three' takes 3 modalities, and there are 2; fitting: attention"],
    ),
    "an encoder for another kind": (
        {"space": SPACE | {"encoders": {"image": "attention"}}},
        ["space.encoders.image: encoder 'attention' reads text, not image; fitting: cnn"],
    ),
    "an encoder of no modality": (
        {"space": SPACE | {"encoders": {"imagee": "cnn"}}},
        ["space.encoders.imagee: 'imagee' is not a key here; did you mean 'image'?"],
    ),
    "a training setting that is not there": (
        {"space": SPACE | {"training": {"learning": 0.1}}},
        ["space.training.learning: 'learning' is not a key here", "learning_rate"],
    ),
    "a training domain beyond what is legal": (
        {"space": SPACE | {"training": {"warmup": {"float": [0, 2]}}}},
        ["space.training.warmup: 2.0 is not allowed: should be less than or equal to 1"],
    ),
    "a list for a training setting": (
        {"space": SPACE | {"training": {"weight_decay": [0.1, 0.2]}}},
        ["space.training.weight_decay: [0.1, 0.2] is not allowed: should be a valid number"],
    ),
    "a training setting given twice": (
        {"space": SPACE | {"training": {"epochs": {"int": [1, 3]}}}},
        ["space.training.epochs: is given here and pinned to 1 by the experiment's `training`; keep one"],
    ),
    "an unknown dataset": ({"data": "tooy"}, ["data: there is no dataset 'tooy'; did you mean 'toy'?"]),
    "an unknown option of a dataset": (
        {"data": {"toy": {"sed": 1}}},
        ["data.toy: dataset 'toy' has no hyper-parameter 'sed'; did you mean 'seed'?"],
    ),
    "a value that a dataset refuses": ({"data": {"toy": {"seed": "x"}}}, ["data.toy: "]),
    "data that name nothing": ({"data": 3}, ["data: 3 names no dataset"]),
    "an unknown sampler": (
        {"search": {"sampler": "tpee"}},
        ["search.sampler: there is no sampler 'tpee'", "'tpe'"],
    ),
    "an unknown option of a sampler": (
        {"search": {"sampler": {"tpe": {"startupp": 3}}}},
        ["search.sampler.tpe: sampler 'tpe' has no hyper-parameter 'startupp'; did you mean 'startup'?"],
    ),
    "options of a sampler that are none": (
        {"search": {"sampler": {"tpe": 0}}},
        ["search.sampler.tpe: 0 is not allowed: should be a mapping of keys to values"],
    ),
    "two samplers": (
        {"search": {"sampler": {"tpe": {}, "random": {}}}},
        ["search.sampler: ", "give a name, or"],
    ),
    "an unknown pruner": (
        {"search": {"pruner": "non"}},
        ["search.pruner: there is no pruner 'non'", "'none'"],
    ),
    "an unknown objective": (
        {"objectives": {"acuracy": "maximize"}},
        ["objectives.acuracy: 'acuracy' is not an objective; did you mean 'accuracy'"],
    ),
    "a wrong direction": (
        {"objectives": {"accuracy": "minimize"}},
        ["objectives.accuracy: accuracy is there to maximize, not to minimize"],
    ),
    "a direction that is none": (
        {"objectives": {"accuracy": "up"}},
        ["objectives.accuracy: 'up' is not allowed: should be 'maximize' or 'minimize'"],
    ),
    "no objective": ({"objectives": {}}, ["objectives: {} is not allowed", "at least 1 item"]),
    "a constraint on accuracy": (
        {"constraints": {"accuracy": ">= 0.5"}},
        ["constraints.accuracy: 'accuracy' is not known before training; Allowed: flops, grad_norm"],
    ),
    "a constraint that is no bound": (
        {"constraints": {"parameters": "small"}},
        ["constraints.parameters: 'small'", "'<= 200000'"],
    ),
    "a constraint without a number": (
        {"constraints": {"parameters": "<= e"}},
        ["constraints.parameters: '<= e'", "give a bound"],
    ),
    "a constraint that is a number": (
        {"constraints": {"parameters": 9}},
        ["constraints.parameters: 9 is", "give a bound"],
    ),
    "a plugin that is not there": (
        {"plugins": ["toy.py", "absent.py"]},
        ["plugins.1: plugin ", "absent.py does not exist"],
    ),
    "plugins that are no list": (
        {"plugins": "toy.py"},
        ["plugins: 'toy.py' is not allowed: should be a valid list"],
    ),
    "a plugin that raises": (
        {"plugins": ["toy.py", "broken.py"]},
        ["plugins.1: plugin ", "broken.py failed to import: RuntimeError: first line second line"],
    ),
    "a plugin that takes a name": (
        {"plugins": ["toy.py", "clash.py"]},
        ["plugins.1: plugin ", "clash.py failed to import: ValueError: fusion 'late' is registered already"],
    ),
    "a plugin that is no Python": (
        {"plugins": ["toy.py", "syntax.py"]},
        ["plugins.1: ", "SyntaxError", "syntax.py, line 1"],
    ),
}
PLUGINS = {
    "broken.py": "raise RuntimeError('first line\\nsecond line')",
    "clash.py": "import nas\n@nas.register('fusion', 'late')\nclass Late: pass",
    "syntax.py": "def (",
    "three.py": "import nas\n@nas.register('fusion', 'of_three')\nclass Of:\n  'Of.'\n  modalities = (3, 3)",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_told_in_one_line(refused, write_experiment, tmp_path, case):
    for name, text in PLUGINS.items():
        (tmp_path / name).write_text(text)
    sections, fragments = WRONG[case]
    file = write_experiment()
    base = yaml.safe_load(file.read_text())
    data = {key: value for key, value in (base | sections).items() if value is not None}
    for section in {"search", "training", "execution"} & sections.keys():
        if isinstance(sections[section], dict):
            data[section] = base[section] | sections[section]
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    message = refused(file)
    assert str(file) in message
    for fragment in fragments:
        assert fragment in message
    if sections != {"data": None}:
        top = next(str(key) for key in sections)
        lines = file.read_text().splitlines()
        given = int(message.split(f"{file}:")[1].split(":")[0])
        start = next(number for number, line in enumerate(lines, 1) if line.startswith(f"{top}:"))
        ends = [number for number, line in enumerate(lines, 1) if number > start and line[:1] not in " -"]
        assert start <= given < min(ends, default=len(lines) + 1)


def test_two_objectives_of_the_same_name(refused, write_experiment):
    file = write_experiment(objectives=None)
    file.write_text(file.read_text() + "objectives:\n  accuracy: maximize\n  accuracy: maximize\n")
    line = len(file.read_text().splitlines())
    assert f"toy.yaml:{line}: not valid YAML: the key 'accuracy' is given twice" in refused(file)


def test_the_message_names_the_line_of_the_key(refused, tmp_path, write_experiment):
    file = write_experiment()
    file.write_text(file.read_text().replace("width: 8", "widht: 8"))
    line = 1 + file.read_text().splitlines().index("        widht: 8")
    assert f"{file}:{line}: space.encoders.image.cnn.widht: " in refused(file)


# The command line


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--trials", "0"], "--trials: '0' is not a whole number of at least 1"),
        (["--trials", "-3"], "--trials: '-3' is not a whole number"),
        (["--trials", "many"], "--trials: 'many' is not a whole number"),
        (["--workers", "0"], "--workers: '0' is not a whole number of at least 1"),
        (["--trials"], "--trials: expected one argument"),
        (["--trails", "3"], "unrecognized arguments: --trails 3; see python -m nas.search --help"),
        (["another.yaml"], "unrecognized arguments: another.yaml"),
        (["--set", "search.trials"], "--set 'search.trials' is not of the form key.path=value"),
        (["--set", "=3"], "--set '=3' is not of the form"),
        (["--set", "search..trials=3"], "is not of the form"),
        (["--set", "search.trials={a: ["], "--set search.trials: '{a: [' is not a valid value: "),
        (["--set", "name=2024-99-99"], "--set name: '2024-99-99' is not a valid value: month must be"),
        (["--set", "search.trials=many"], "toy.yaml with --set search.trials: search.trials: 'many' is not"),
        (
            ["--set", "search.trails=3"],
            "with --set search.trails: search.trails: 'trails' is not a key here; did",
        ),
        (["--set", "search.sampler.tpe.startup=3"], "search.sampler: holds 'random', so"),
        (["--set", "space=absent.yaml"], "with --set space: space: "),
        (
            ["--set", "space.fusion=lat"],
            "with --set space.fusion: space.fusion: there is no fusion 'lat'; did",
        ),
    ],
)
def test_a_wrong_option(refused, write_experiment, arguments, fragment):
    assert fragment in refused(write_experiment(), *arguments)


def test_no_experiment_at_all(refused):
    assert "the following arguments are required: EXPERIMENT.yaml" in refused()


# The run directory


@pytest.fixture
def started(write_experiment, monkeypatch, tmp_path):
    """An experiment whose run directory `runs/toy` is there, without a trial."""
    monkeypatch.chdir(tmp_path)
    file = write_experiment()
    setup = prepare(file, [])
    run = RunDirectory(Path("runs/toy"))
    run.create(setup.experiment, setup.dataset.modalities, setup.dataset.task)
    return file


def test_a_second_start_without_resume(refused, started):
    message = refused(started)
    assert "runs/toy holds a run of this experiment already; continue it with --resume" in message
    assert "--run-dir" in message


@pytest.mark.parametrize("resume", [[], ["--resume"]])
@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("search.seed=1", "search.seed differs (0 there, 1 here)"),
        (
            "objectives={accuracy: maximize}",
            'objectives differs ({"accuracy": "maximize", "parameters": "minimize"} there, '
            '{"accuracy": "maximize"} here)',
        ),
        ("constraints={parameters: '<= 5'}", 'constraints.parameters differs (nothing there, "<= 5" here)'),
    ],
)
def test_a_run_directory_of_another_experiment(refused, started, override, difference, resume):
    message = refused(started, "--set", override, *resume)
    assert f"runs/toy holds a run of another experiment: {difference}; choose another folder" in message


@pytest.mark.parametrize("content", ["data: toy\n", "[", "3", ""])
def test_an_experiment_file_that_is_not_that_of_a_run(refused, write_experiment, tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "experiment.yaml").write_text(content)
    message = refused(write_experiment(), "--run-dir", "mine")
    assert "mine/experiment.yaml is not that of a run; choose another folder with --run-dir" in message


def test_a_folder_that_holds_something_else(refused, write_experiment, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("important")
    assert "mine is not empty and holds no run" in refused(write_experiment(), "--run-dir", "mine")


def test_nothing_to_resume(refused, write_experiment):
    message = refused(write_experiment(), "--resume")
    assert "there is nothing to resume in runs/toy; leave --resume out to start" in message


@pytest.mark.parametrize("place", ["file", "file/run", "file/a/b", "/proc/nothing", "/proc/nothing/below"])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_run_directory_that_cannot_be_written(refused, write_experiment, tmp_path, place, resume):
    (tmp_path / "file").write_text("a regular file")
    message = refused(write_experiment(), "--run-dir", place, *resume)
    wanted = "there is nothing to resume in" if resume else "cannot be written: "
    assert f"{place} {wanted}" in message or f"{wanted} {place}" in message


def test_a_dry_run_of_what_cannot_be_built(write_experiment, capsys):
    space = SPACE | {"connector": {"small_world": {"topology": {"ring": {"k": 3}}}}}
    assert main([str(write_experiment(space=space)), "--dry-run"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: this architecture cannot be built: ValueError: k must be an even")
    assert err.count("\n") == 1


# The real command


def run(module, *arguments, cwd):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_real_command_refuses_with_exit_code_2(tmp_path, write_experiment):
    file = write_experiment(search={"trials": "many"})
    before = tree(tmp_path)
    done = run("nas.search", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"error: {file}:26: search.trials: 'many' is not allowed: should be a valid integer\n"
    )
    assert tree(tmp_path) == before


def test_a_plugin_that_raises_is_refused_by_the_real_command(tmp_path, write_experiment):
    (tmp_path / "broken.py").write_text("1 / 0")
    file = write_experiment(plugins=["broken.py", "toy.py"])
    before = tree(tmp_path)
    done = run("nas", "search", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"plugins.0: plugin {tmp_path / 'broken.py'} failed to import: ZeroDivisionError" in done.stderr
    assert tree(tmp_path) == before


def test_the_installed_command_is_the_same(tmp_path):
    command = Path(sys.executable).with_name("nas")
    done = subprocess.run([command, "search", "absent.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: absent.yaml: there is no such file\n")
    assert os.listdir(tmp_path) == []


# The dispatcher


def test_a_command_that_is_not_there(refused):
    message = refused("serch", "e.yaml", command=nas.__main__.main)
    assert "'serch' is not a command; did you mean 'search'? Allowed: components, dashboard" in message


def test_the_dispatcher_hands_arguments_and_exit_code_through(refused):
    assert "absent.yaml: there is no such file" in refused("search", "absent.yaml", command=nas.__main__.main)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_dispatcher_lists_its_commands(capsys, arguments):
    assert nas.__main__.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in nas.__main__.COMMANDS)


def test_the_commands_that_are_listed_are_there():
    from importlib import import_module

    assert all(callable(import_module(module).main) for module in nas.__main__.COMMANDS.values())


@pytest.mark.parametrize("command", ["search", "components", "report", "retrain", "predict", "dashboard"])
def test_help_needs_neither_torch_nor_optuna(command):
    code = f"""
import sys
from nas.__main__ import main
try:
    main([{command!r}, "--help"])
except SystemExit as end:
    assert end.code == 0
print([name for name in ("torch", "optuna", "ray", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m nas.{command}")
    assert done.stdout.splitlines()[-1] == "[]"
