"""Exported networks predict what the trained ones did, and say what they are."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import MODALITIES, TASKS, Example, covering, own
from safetensors.torch import load_file, save_file
from searches import ENVIRONMENT

import nas
from nas import catalogue, export, retrain
from nas.datasets import TensorSplit
from nas.errors import RequestError
from nas.results import export as exporting
from nas.results.conversion import convert, largest_difference
from nas.results.export import TOLERANCE
from nas.results.exported import to_safetensors
from nas.results.figures import figure, with_deviation
from nas.results.formats import FILES
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.space import Architecture
from nas.sparse.backends import BACKENDS

PLAIN = Example({})
SETTINGS = {"layers": 1, "topology": {"watts_strogatz": {"k": 4}}, "rewiring": {"none": {}}}
WIRED = Example({}, {"connector": {"small_world": SETTINGS}})


@pytest.mark.parametrize("example", list(covering()), ids=lambda example: example.names["fusion"])
def test_every_component_is_exported_for_any_number_of_samples(example):
    network, batch, description = example.build(), example.batch(), example.description
    for format in ("safetensors", "onnx"):  # onnx is made of what torch-export writes
        content = convert(format, network, description, batch)
        assert largest_difference(format, content, network, batch) < TOLERANCE


def test_the_exported_networks_hold_every_component():
    held = {name for example in covering() for name in example.names.values()}
    for kind in ("encoder", "topology", "fusion", "head"):
        assert set(own(kind)) <= held, kind
    assert {*TASKS, *BACKENDS, *MODALITIES} <= held | {slot for e in covering() for slot in e.names}


def test_the_guide_lists_every_component_among_what_is_exported():
    guide = (Path(__file__).parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    for kind in ("encoder", "fusion", "connector", "topology", "head"):
        [row] = re.findall(rf"^\| {kind} \| (.*) \|$", guide, re.MULTILINE)
        listed = re.findall("`(.*?)`", row)
        assert listed == catalogue.own(kind), kind


@pytest.mark.parametrize(
    "slots",
    [{"stand_in": "learned"}, {"encoders": {"vector": {"mlp": {"sparsify": {"topology": "erdos_renyi"}}}}}],
)
def test_a_network_with_stand_ins_or_sparse_encoders_is_exported_by_torch_itself(slots):
    example = Example({}, slots, missing=True)
    network, batch = example.build(), example.batch()
    content = convert("torch-export", network, example.description, batch)
    assert largest_difference("torch-export", content, network, batch) < TOLERANCE


def test_a_difference_is_seen():
    content = convert("safetensors", PLAIN.build(), PLAIN.description, PLAIN.batch())
    assert largest_difference("safetensors", content, PLAIN.build(seed=5), PLAIN.batch()) > TOLERANCE


def test_a_loaded_network_is_the_trained_one_with_its_edges(tmp_path):
    network, batch = WIRED.build(), WIRED.batch()
    [layer] = network.connector.layers
    (tmp_path / "weights.safetensors").write_bytes(to_safetensors(network, WIRED.description))
    for path in (tmp_path, tmp_path / "weights.safetensors", str(tmp_path)):
        loaded = nas.load(path)
        assert not loaded.training
        assert loaded.connector.layers[0].edges == layer.edges
        outputs = network(batch.inputs, batch.masks)
        torch.testing.assert_close(loaded(batch.inputs, batch.masks), outputs, rtol=0, atol=1e-6)


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"does not exist; write it with `python -m nas\.export"):
        nas.load(tmp_path / "nothing")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(RequestError, match="is not a safetensors file"):
        nas.load(tmp_path / "text.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(RequestError, match=r"was not written by nas\.export"):
        nas.load(tmp_path / "foreign.safetensors")


def test_a_network_of_an_unknown_component_asks_for_its_plugin(tmp_path):
    description = PLAIN.description
    strange = Architecture(description.architecture.to_data() | {"fusion": {"stranger": {}}})
    file = tmp_path / "x.safetensors"
    needing = replace(description, architecture=strange, plugins=("stranger.py",))
    file.write_bytes(to_safetensors(PLAIN.build(), needing))
    with pytest.raises(RequestError, match=r"'stranger'.*Plugins of its search: stranger\.py"):
        nas.load(file)


def test_a_network_that_a_format_cannot_express_is_refused_with_the_reason(monkeypatch):
    network = PLAIN.build()
    reasons = {
        "torch-export": (lambda x: x if x.sum().item() > 0 else -x, "data-dependent"),
        "torch-export ": (lambda x: x.reshape(len(x), -1), "write x.shape\\[0\\] where it says len"),
        "onnx": (lambda x: x.sort(dim=1, stable=True).values, "ONNX has no counterpart of aten.sort"),
    }
    for format, (forward, reason) in reasons.items():
        monkeypatch.setattr(network.head, "forward", forward)
        with pytest.raises(RequestError, match=f"cannot be expressed as {format.strip()}: .*{reason}"):
            convert(format.strip(), network, PLAIN.description, PLAIN.batch())


# The command


@pytest.fixture
def run(finished_search):
    return RunDirectory(finished_search / "run")


@pytest.fixture
def member(run):
    return read_history(run).front()[0]


@pytest.mark.parametrize("format", FILES)
def test_a_folder_gets_the_model_its_card_and_an_example_that_runs(run, member, format, tmp_path, capsys):
    folder = tmp_path / "taken"
    assert (
        export.main([str(run.path), "--trial", str(member.number), "--format", format, "-o", str(folder)])
        == 0
    )
    assert {file.name for file in folder.iterdir()} == {
        FILES[format],
        "README.md",
        "architecture.json",
        "example.py",
    }
    assert str(folder / FILES[format]) in capsys.readouterr().out
    assert json.loads((folder / "architecture.json").read_text()) == member.architecture.to_data()
    card = (folder / "README.md").read_text()
    assert f"trial {member.number}" in card
    assert f"| parameters | {member.values['parameters']:,.0f} |" in card
    example = (folder / "example.py").read_text()
    assert ("import nas" in example) == (format == "safetensors")
    if format == "safetensors":
        example = example.replace("nas.load(FILE)", f"nas.load(FILE, {run.experiment().plugins})")
    done = subprocess.run(
        [sys.executable, "-c", example.replace("__file__", repr(str(folder / "example.py")))],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_where_modalities_are_missing_the_model_takes_which_are_there(
    run, member, tmp_path, monkeypatch, capsys
):
    def lacking(*arguments, **options):
        dataset = nas.load_dataset(*arguments, **options)
        split = dataset.splits["validation"]
        present = torch.arange(len(split))[:, None] % 3 != torch.arange(2)
        dataset.splits["validation"] = TensorSplit(split.inputs, split.labels, split.masks, present)
        return dataset

    monkeypatch.setattr(exporting, "load_dataset", lacking)
    for format in ("safetensors", "torch-export"):
        folder = tmp_path / format
        arguments = [str(run.path), "--trial", str(member.number), "--format", format, "-o", str(folder)]
        assert export.main(arguments) == 0
        card = (folder / "README.md").read_text()
        assert "| `present` | [2] | bool |" in card
        assert "in this order: image, text;" in card
    capsys.readouterr()
    exec((folder / "example.py").read_text(), {"__file__": str(folder / "example.py")})
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("format", FILES)
def test_what_a_network_does_not_use_is_no_input_of_its_export(run, member, format, tmp_path, monkeypatch):
    tree = member.architecture.to_data()
    one = {name: tree[name] for name in ("dim", "head")} | {"encoders": {"text": tree["encoders"]["text"]}}
    alone = Architecture(one | {"present": {"image": False, "text": True}})
    network = nas.build(alone, *run.data())
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    record = replace(member.records[0], architecture=alone)
    monkeypatch.setattr(exporting, "find_record", lambda run, number: record)
    monkeypatch.setattr(exporting, "_weights", lambda *_: tmp_path / "weights.safetensors")
    folder = tmp_path / "taken"
    assert export.main([str(run.path), "--trial", "0", "--format", format, "-o", str(folder)]) == 0
    assert "image" not in (folder / "example.py").read_text()
    card = (folder / "README.md").read_text()
    assert "It does not use image, which the data have as well." in card
    assert "| `image` |" not in card
    exec((folder / "example.py").read_text(), {"__file__": str(folder / "example.py")})


def test_a_file_gets_the_model_alone_which_predicts_what_the_trial_did(run, member, tmp_path):
    file = tmp_path / "mine.safetensors"
    assert export.main([str(run.path), "--trial", str(member.number), "-o", str(file)]) == 0
    assert list(tmp_path.iterdir()) == [file]
    [(name, options)] = run.experiment().data.items()
    network = nas.load(file, run.experiment().plugins)
    split = nas.load_dataset(name, **options).splits["validation"]
    batch = split.batch(torch.arange(len(split)))
    right = network(batch.inputs, batch.masks, batch.present).argmax(1) == batch.labels
    assert right.float().mean().item() == pytest.approx(member.records[0].values["accuracy"], abs=1e-6)
    stored = load_file(run.weights(member.number))
    assert all(torch.equal(value, stored[key]) for key, value in network.state_dict().items())


def test_a_retrained_network_is_exported_with_the_test_figures_of_its_retraining(
    run, member, tmp_path, capsys
):
    shutil.copytree(run.path, tmp_path / "run")
    copy, folder = RunDirectory(tmp_path / "run"), tmp_path / "taken"
    arguments = [str(copy.path), "--trial", str(member.number), "--retrained"]
    assert export.main([*arguments, "-o", str(folder)]) == 2
    assert f"trial {member.number} has not been retrained; `python -m nas.retrain" in capsys.readouterr().err
    assert retrain.main([*arguments[:3], "--seeds", "2"]) == 0
    assert f"nas.export {copy.path} --trial {member.number} --retrained" in capsys.readouterr().out
    kept = json.loads((copy.trial(member.number) / "retrained.json").read_text())
    for index, options in enumerate(([], ["1"])):
        assert export.main([*arguments, *options, "-o", str(folder)]) == 0
        stored = load_file(copy.trial(member.number) / f"retrained-{index}.safetensors")
        written = load_file(folder / FILES["safetensors"])
        assert all(torch.equal(written[key], value) for key, value in stored.items())
        own, mean = kept["test"][index]["accuracy"], kept["summary"]["accuracy"]
        row = f"| accuracy | {figure(own)} | {with_deviation(mean['mean'], mean['std'])} |"
        assert row in (folder / "README.md").read_text()
    assert export.main([*arguments, "2", "-o", str(folder)]) == 2
    assert f"trial {member.number} has no training 2" in capsys.readouterr().err
    (copy.trial(member.number) / "retrained-0.safetensors").unlink()
    assert export.main([*arguments, "-o", str(folder)]) == 2
    assert "retrained-0.safetensors is not there any more" in capsys.readouterr().err


def test_what_was_not_exported_is_not_written_over(run, member, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert export.main([str(run.path), "--trial", str(member.number), "-o", str(tmp_path)]) == 2
    assert "holds a README.md that is not of an export" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    file = tmp_path / "plain"
    file.write_text("mine")
    assert export.main([str(run.path), "--trial", str(member.number), "-o", str(file)]) == 2
    assert f"-o {file} is a file" in capsys.readouterr().err


def test_an_onnx_model_of_a_trial_gives_its_accuracy_in_onnxruntime(run, member, tmp_path):
    import onnxruntime

    file = tmp_path / "mine.onnx"
    assert (
        export.main([str(run.path), "--trial", str(member.number), "--format", "onnx", "-o", str(file)]) == 0
    )
    [(name, options)] = run.experiment().data.items()
    split = nas.load_dataset(name, **options).splits["validation"]
    batch = split.batch(torch.arange(len(split)))
    session = onnxruntime.InferenceSession(file)
    given = {
        one.name: batch.inputs[one.name].numpy() for one in session.get_inputs() if one.name in batch.inputs
    }
    given |= {f"{name}_mask": mask.numpy() for name, mask in (batch.masks or {}).items()}
    [outputs] = session.run(None, given)
    accuracy = np.mean(outputs.argmax(1) == batch.labels.numpy())
    assert accuracy == pytest.approx(member.records[0].values["accuracy"], abs=1e-6)


def test_a_model_that_predicts_something_else_is_not_written(run, member, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exporting, "largest_difference", lambda *_: 0.5)
    assert export.main([str(run.path), "--trial", str(member.number), "-o", str(tmp_path / "new")]) == 2
    assert "differs from the network by 0.5 on real samples" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_trial_off_the_front_has_no_weights_and_is_told_which_have(run, tmp_path, capsys):
    front = {member.number for member in read_history(run).front()}
    number = next(r.number for r in read_history(run).records if r.number not in front)
    assert export.main([str(run.path), "--trial", str(number), "-o", str(tmp_path / "new")]) == 2
    message = capsys.readouterr().err
    assert f"trial {number} has no weights" in message
    assert all(str(other) in message for other in front)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trial", "999"], "has no trial 999"),
        (["--format", "onnx", "-o", "model.pt2"], "a file of the format onnx ends in .onnx"),
        (["--format", "pickle"], "invalid choice: 'pickle'"),
        (["-o", "/proc/nowhere/x"], "cannot be written"),
    ],
)
def test_a_wrong_request_is_one_line(run, member, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    usual = {"--trial": str(member.number), "-o": "new"} | dict(zip(options[::2], options[1::2], strict=True))
    assert export.main([str(run.path), *(word for pair in usual.items() for word in pair)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_onnx_says_what_to_install(run, member, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    arguments = [str(run.path), "--trial", str(member.number), "--format", "onnx", "-o", str(tmp_path / "x")]
    assert export.main(arguments) == 2
    assert "small-world-nas[export]" in capsys.readouterr().err
