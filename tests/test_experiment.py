"""The experiment file: what it may say, its defaults, overrides, and the way back from a run."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import nas
from nas.experiment import Experiment, load_experiment
from nas.search.setup import prepare

ROOT = Path(__file__).parents[1]


@pytest.fixture
def write(tmp_path):
    """Write a file of `tmp_path` and return its path."""

    def write(text: str, name: str = "e.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def load(file, *overrides) -> Experiment:
    return load_experiment(file, overrides)[0]


CONTRACT = """
name: ws
data: avt_digits                           # or {manifest: data.csv, label: label, modalities: {photo: …}}
space: ../search_spaces/ws.yaml            # or the space itself, inline
objectives: {accuracy: maximize, parameters: minimize}
search: {sampler: tpe, trials: 40, seed: 0, pruner: none}
training: {epochs: 12, batch_size: 128}
execution: {backend: local, workers: auto}
plugins: [../plugins]                      # optional
constraints: {parameters: "<= 200000"}     # optional
"""
CONTRACT_SPACE = """
dim: {int: [16, 128], log: true}
encoders:
  {image: cnn, text: attention, audio: {choice: {spectrogram_cnn: {width: {int: [8, 64], log: true}}}}}
connector:
  choice:
    none: {}
    small_world:
      layers: {int: [1, 3]}
      topology: {choice: {watts_strogatz: {k: {int: [2, 16], step: 2}, beta: {float: [0, 1]}}, ring: {}}}
fusion: {choice: all}
head: linear
training: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""


def test_the_example_of_the_contract_loads(write, tmp_path):
    write(CONTRACT_SPACE, "search_spaces/ws.yaml")
    experiment = load(write(CONTRACT, "experiments/ws.yaml"))
    assert experiment.name == "ws"
    assert experiment.data == {"avt_digits": {}}
    assert experiment.space == yaml.safe_load(CONTRACT_SPACE)
    assert list(experiment.objectives.items()) == [("accuracy", "maximize"), ("parameters", "minimize")]
    assert experiment.search.sampler == {"tpe": {}}
    assert experiment.search.pruner == {"none": {}}
    assert (experiment.search.trials, experiment.search.seed) == (40, 0)
    assert (experiment.training.epochs, experiment.training.batch_size) == (12, 128)
    assert experiment.execution.workers == "auto"
    assert experiment.plugins == [str(tmp_path / "plugins")]
    assert experiment.constraints == {"parameters": "<= 200000"}


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_experiments_that_ship_load(file):
    assert load(file).name == file.stem


def test_what_is_left_out_has_the_defaults_of_the_documentation(write):
    experiment = load(write("data: avt_digits"))
    assert experiment.name == "e"  # that of the file
    assert experiment.objectives == {"accuracy": "maximize", "parameters": "minimize"}
    assert experiment.search.sampler == {"tpe": {}}
    assert experiment.search.pruner == {"none": {}}
    assert experiment.execution.backend == "local"
    assert experiment.space == {"training": {"add_ons": "all"}}
    assert experiment.constraints == {}
    assert load(write("data: avt_digits\nsearch:\nplugins:\nspace:\n")) == experiment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("avt_digits", {"avt_digits": {}}),
        ("{avt_digits: }", {"avt_digits": {}}),
        ("{avt_digits: {modalities: [image]}}", {"avt_digits": {"modalities": ["image"]}}),
        (
            "{manifest: sub/data.csv, label: label, modalities: {photo: {image: photo}}}",
            {
                "manifest": {
                    "source": "DIR/sub/data.csv",
                    "label": "label",
                    "modalities": {"photo": {"image": "photo"}},
                }
            },
        ),
        ("{arrays: /elsewhere/data.npz}", {"arrays": {"source": "/elsewhere/data.npz"}}),
    ],
)
def test_a_dataset_is_named_in_three_ways(write, tmp_path, text, expected):
    found = load(write(f"data: {text}")).data
    assert found == yaml.safe_load(yaml.safe_dump(expected).replace("DIR", str(tmp_path)))


def test_the_key_that_names_the_dataset_may_stand_anywhere(write, tmp_path):
    options = {
        "cache": "c",
        "label": "y",
        "manifest": "d.csv",
        "arrays": "of no account",
        "task": "regression",
    }
    expected = load(write(yaml.safe_dump({"data": options}, sort_keys=False) + "plugins: [gone.py]"))
    assert list(expected.data) == ["cache"]  # two of the keys name a dataset, and the first does not
    del options["arrays"]
    for order in (options, dict(sorted(options.items(), reverse=True))):
        found = load(write(yaml.safe_dump({"data": order}, sort_keys=False) + "plugins: [gone.py]"))
        assert found.data.keys() == {"manifest"}
        assert found.data["manifest"] == {
            "source": str(tmp_path / "d.csv"), "cache": "c", "label": "y", "task": "regression"
        }  # fmt: skip


def test_a_misspelt_dataset_is_found_among_sorted_keys(write):
    assert list(load(write("data: {cache: c, label: y, manifset: d.csv}")).data) == ["manifset"]


def test_so_may_the_name_of_a_plugin_s_dataset_whatever_its_options_are_called(write, toy, tmp_path):
    toy.write_text(toy.read_text().replace("seed: int = 0", "source: str, manifest: int = 0, seed: int = 0"))
    data = {"manifest": 3, "seed": 1, "toy": "here"}
    for order in (["toy", "manifest", "seed"], ["seed", "toy"]):
        text = yaml.safe_dump({"data": {key: data[key] for key in order}}, sort_keys=False)
        assert load(write(text + "plugins: [toy.py]")).data["toy"]["source"] == str(tmp_path / "here")


def test_paths_are_relative_to_the_file(write, tmp_path, monkeypatch):
    write("dim: 7", "spaces/s.yaml")
    file = write(
        "data: {manifest: ../d.csv}\nspace: ../spaces/s.yaml\nplugins: [p.py, /a/b.py]", "sub/e.yaml"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in (file, Path("../sub/e.yaml")):
        experiment = load(path)
        assert experiment.space == {"dim": 7}
        assert experiment.plugins == [str(tmp_path / "sub" / "p.py"), "/a/b.py"]
        assert experiment.data == {"manifest": {"source": str(tmp_path / "d.csv")}}


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("search.trials=7", lambda e: e.search.trials == 7),
        ("search.sampler=random", lambda e: e.search.sampler == {"random": {}}),
        (
            "search.sampler={nsga2: {population: 6}}",
            lambda e: e.search.sampler == {"nsga2": {"population": 6}},
        ),
        ("training.learning_rate=1e-3", lambda e: e.training.learning_rate == 0.001),
        ("training.learning_rate=2E+0", lambda e: e.training.learning_rate == 2.0),
        ("space.dim=16", lambda e: e.space == {"dim": 16, "head": "linear"}),
        (
            "space.encoders.image.cnn.width=9",
            lambda e: e.space["encoders"] == {"image": {"cnn": {"width": 9}}},
        ),
        (
            "space.fusion={choice: [late, concat]}",
            lambda e: e.space["fusion"]["choice"] == ["late", "concat"],
        ),
        ("plugins=[a.py, b.py]", lambda e: [Path(p).name for p in e.plugins] == ["a.py", "b.py"]),
        ("name=a=b", None),
        ("name=mine", lambda e: e.name == "mine"),
        ("search=null", lambda e: e.search.trials == 40),
        ('constraints.parameters="<= 5"', lambda e: e.constraints == {"parameters": "<= 5"}),
        ("space=other.yaml", lambda e: e.space == {"dim": 99}),
        ("data=other", lambda e: e.data == {"other": {}}),
    ],
)
def test_overrides_set_nested_keys_to_yaml_values(write, override, read):
    write("dim: 8\nhead: linear", "space.yaml")
    write("dim: 99", "other.yaml")
    file = write("data: toy\nspace: space.yaml\nsearch: {trials: 3}")
    if read is None:
        with pytest.raises(nas.RequestError, match="'a=b' is not allowed: give letters"):
            load(file, override)
    else:
        assert read(load(file, override))


def test_later_overrides_win(write):
    assert load(write("data: toy"), "search.trials=3", "search.trials=4").search.trials == 4


def test_numbers_may_be_written_with_an_exponent_alone(write):
    experiment = load(write("data: toy\ntraining: {learning_rate: 1e-3, weight_decay: 5E-4, warmup: 1e-1}"))
    training = experiment.training
    assert (training.learning_rate, training.weight_decay, training.warmup) == (1e-3, 5e-4, 0.1)


def test_keys_may_be_merged_from_an_anchor(write):
    text = (
        "data: toy\nspace:\n  encoders:\n    image: &one {cnn: {width: 8}}\n    audio: {<<: *one, other: 3}"
    )
    assert load(write(text)).space["encoders"]["audio"] == {"cnn": {"width": 8}, "other": 3}


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("data: toy\ndata: toy2", 2, "data"),
        ("data: toy\nobjectives:\n  accuracy: maximize\n  accuracy: minimize", 4, "accuracy"),
        ("data: toy\nspace: {fusion: {choice: {late: {}, late: {}}}}", 2, "late"),
    ],
)
def test_a_key_given_twice_is_refused(write, text, line, key):
    file = write(text)
    with pytest.raises(
        nas.RequestError, match=re.escape(f"{file}:{line}: not valid YAML: the key '{key}' is")
    ):
        load(file)


def test_a_resolved_experiment_reloads_to_an_equal_one(write):
    write(CONTRACT_SPACE, "search_spaces/ws.yaml")
    for text in (CONTRACT, "data: {manifest: data.csv, label: y}\nsearch: {sampler: {tpe: {startup: 3}}}"):
        experiment = load(write(text, "experiments/ws.yaml"))
        resolved = write(yaml.safe_dump(experiment.to_data(), sort_keys=False), "run/experiment.yaml")
        assert load(resolved) == experiment
        assert load(resolved).difference(experiment) is None
        assert Experiment.model_validate(experiment.to_data()) == experiment


def test_a_resolved_experiment_has_every_default_written_out(write):
    data = load(write("data: toy")).to_data()
    assert set(data) == set(Experiment.model_fields)
    assert set(data["training"]) == set(type(Experiment.model_fields["training"].default).model_fields)


BASE = "data: toy\nspace: {dim: 8, fusion: {choice: [late, concat]}}\nplugins: [a.py]\n"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("search.seed=1", "search.seed"),
        ("search.sampler=random", "search.sampler"),
        ("training.epochs=3", "training.epochs"),
        ("objectives={accuracy: maximize, parameters: minimize, flops: minimize}", "objectives"),
        ("objectives={parameters: minimize, accuracy: maximize}", "objectives"),
        ("objectives={accuracy: maximize}", "objectives"),
        ("constraints.parameters='<= 5'", "constraints.parameters"),
        ("data=other", "data"),
        ("name=other", "name"),
    ],
)
def test_the_difference_of_two_searches_is_named_whichever_is_asked(write, override, key):
    file = write(BASE)
    one, other = load(file), load(file, override)
    assert one.difference(other).startswith(key)
    assert other.difference(one).startswith(key)


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=9",
        "execution.workers=3",
        "training.epochs=12",
        "space.dim=9",
        "space.head=linear",
        "space.fusion={choice: [concat, late]}",
        "plugins=[b.py]",
    ],
)
def test_where_trials_run_how_many_and_what_a_space_grows_make_no_other_search(write, override):
    file = write(BASE)
    assert load(file).difference(load(file, override)) is None


def test_an_experiment_cannot_be_changed(write):
    experiment = load(write("data: toy"))
    with pytest.raises(ValueError, match="frozen"):
        experiment.search.trials = 3


# Files that a component of the space reads

EDGES = "target,source\n" + "".join(f"{t},{(t + 1) % 8}\n" for t in range(8))
EXPLICIT = {
    "present": "all",
    "dim": 4,
    "connector": {"small_world": {"layers": 1, "rewiring": "none", "dropout": 0.0}},
}


def with_edges(path):
    connector = EXPLICIT["connector"]["small_world"] | {"topology": {"explicit": {"path": path}}}
    return EXPLICIT | {"fusion": "concat", "head": "linear", "connector": {"small_world": connector}}


@pytest.mark.parametrize("included", [False, True])
def test_a_file_of_edges_is_relative_to_the_file_that_names_it(
    included, write, write_experiment, tmp_path, monkeypatch
):
    write(EDGES, "spaces/edges.csv")
    space = with_edges("edges.csv" if included else "spaces/edges.csv")
    file = write_experiment(space=space)
    if included:
        write(yaml.safe_dump(space), "spaces/space.yaml")
        file = write_experiment(space="spaces/space.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    setup = prepare(file, [])
    architecture = setup.space.sample(np.random.default_rng(0))
    topology = architecture["connector"]["small_world"]["topology"]
    assert topology["explicit"]["path"] == str(tmp_path / "spaces" / "edges.csv")
    network = nas.build(architecture, setup.dataset.modalities, setup.dataset.task)
    assert network.connector.layers[0].edges.source.tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    resolved = write(yaml.safe_dump(setup.experiment.to_data()), "elsewhere/resolved.yaml")
    assert prepare(resolved, []).experiment.space == setup.experiment.space


def test_a_choice_of_files_is_relative_to_the_file_too(write, write_experiment, tmp_path):
    for name in ("a.csv", "b.csv"):
        write(EDGES, name)
    setup = prepare(write_experiment(space=with_edges({"choice": ["a.csv", "b.csv"]})), [])
    [choice] = [domain for path, domain in setup.space.domains() if path.endswith("explicit.path")]
    assert list(choice) == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_a_file_that_is_not_there_is_refused_by_file_line_and_key_path(write, write_experiment, tmp_path):
    space = write(yaml.safe_dump(with_edges("lost.csv")), "spaces/space.yaml")
    with pytest.raises(nas.RequestError) as caught:
        prepare(write_experiment(space="spaces/space.yaml"), [])
    place, lost = "space.connector.small_world.topology.explicit.path", tmp_path / "spaces" / "lost.csv"
    line = next(i for i, text in enumerate(space.read_text().splitlines(), 1) if "path:" in text)
    message = f"{space}:{line}: {place}: 'lost.csv' does not exist; {lost} is where it was looked for"
    assert str(caught.value) == message


def test_what_belongs_to_another_backend_is_refused(write_experiment):
    with pytest.raises(nas.RequestError, match=r"execution: .* gpus_per_trial is for backend: ray"):
        load_experiment(write_experiment(execution={"gpus_per_trial": 0.25}))


def test_a_folder_for_the_states_of_ray_is_relative_to_the_experiment_and_a_url_is_not(write_experiment):
    for given, placed in (
        ("states", lambda folder: str(folder / "states")),
        ("/mnt/nfs/nas", lambda folder: "/mnt/nfs/nas"),
        ("~/states", lambda folder: str(Path.home() / "states")),
        ("s3://bucket/nas", lambda folder: "s3://bucket/nas"),
    ):
        file = write_experiment(execution={"backend": "ray", "storage": given})
        assert load_experiment(file)[0].execution.storage == placed(file.parent)


@pytest.mark.parametrize(
    ("execution", "reason"),
    [
        (
            {"cpus_per_trial": 1e-5},
            "execution.cpus_per_trial: 1e-05 is not allowed: .* 0.0001",
        ),
        (
            {"gpus_per_trial": 1e-5},
            "execution.gpus_per_trial: 1e-05 is not allowed: .* 0.0001",
        ),
        ({"gpus_per_trial": 1.5}, "execution.gpus_per_trial: 1.5 is not allowed: give a share of one GPU"),
    ],
)
def test_what_ray_cannot_divide_is_refused(write_experiment, execution, reason):
    with pytest.raises(nas.RequestError, match=reason):
        load_experiment(write_experiment(execution={"backend": "ray"} | execution))


def test_a_device_is_an_index_or_a_uuid(write_experiment):
    experiment = load_experiment(write_experiment(execution={"devices": [1, "GPU-5ebe9f43"]}))[0]
    assert experiment.execution.devices == ["1", "GPU-5ebe9f43"]
