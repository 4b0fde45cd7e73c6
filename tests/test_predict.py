"""`python -m nas.predict`: new files are read as those that a network was trained on."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from manifests import MODALITIES, write_samples, write_table
from pretrained import tiny_tokenizer
from searches import search

import nas
from nas import export, predict, report, retrain
from nas.modality import Preprocessing
from nas.results.exported import Description, load_described, to_safetensors
from nas.space import Architecture

SPACE = {"present": "all", "dim": 8, "connector": "none", "fusion": "concat", "head": "linear"}
RUN = {"search": {"trials": 1}, "training": {"epochs": 2, "batch_size": 16}, "execution": {"workers": 1}}


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def without(row, *columns):
    return {name: cell for name, cell in row.items() if name not in columns}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def taken_away(tmp_path_factory):
    """Two exports of a network, what it says of its test split, and the files without their manifest."""
    folder = tmp_path_factory.mktemp("taken")
    (folder / "before").mkdir()
    manifest, run = write_samples(folder / "before"), folder / "run"
    data = {"manifest": str(manifest), "label": "label"}
    data["modalities"] = MODALITIES | {"words": {"text": "words", "tokens": "bpe", "vocabulary": 60}}
    experiment = folder / "mine.yaml"
    experiment.write_text(yaml.safe_dump({"data": data, "space": SPACE} | RUN, sort_keys=False))
    assert search(experiment, run).returncode == 0
    assert retrain.main([str(run), "--trial", "0", "--seeds", "1"]) == 0
    for name, options in (("retrained", ["--retrained"]), ("searched", [])):
        assert export.main([str(run), "--trial", "0", *options, "-o", str(folder / name)]) == 0
        test = nas.load_dataset(**data_of(data)).splits["test"]
        batch = test.batch(torch.arange(len(test)))
        outputs = nas.load(folder / name)(batch.inputs, batch.masks, batch.present)
        np.save(folder / f"{name}.npy", outputs.softmax(1).detach().numpy())
    rows = rows_of(manifest)
    manifest.unlink()
    shutil.move(folder / "before", folder / "after")
    shutil.copytree(run / "trials" / "0", folder / "trial")
    assert report.main([str(run)]) == 0
    shutil.move(run / "report.html", folder / "report.html")
    shutil.rmtree(run)
    write_table(folder / "after", [without(rows[row], "label") for row in test.samples], "test.csv")
    return folder


def data_of(data):
    return {"name": "manifest", "source": data["manifest"], **without(data, "manifest")}


def predicted(model, table, *options):
    out = table.with_name("out.csv")
    assert predict.main([str(model), str(table), "--out", str(out), *options]) == 0
    return rows_of(out)


def refused(capsys, *arguments):
    assert predict.main([*map(str, arguments), "--out", "never.csv"]) == 2
    assert not Path("never.csv").exists()
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("model", ["retrained", "searched", "trial/retrained-0.safetensors"])
def test_the_rows_of_the_test_split_get_the_network_s_own_outputs_when_all_else_is_gone(taken_away, model):
    expected = np.load(taken_away / ("searched.npy" if model == "searched" else "retrained.npy"))
    rows = predicted(taken_away / model, taken_away / "after" / "test.csv")
    assert [row["row"] for row in rows] == [str(n + 1) for n in range(len(expected))]
    found = [[float(row[f"probability of {name}"]) for name in ("cat", "dog")] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert [row["prediction"] for row in rows] == [("cat", "dog")[place] for place in expected.argmax(1)]


def test_one_row_alone_is_read_as_among_others(taken_away):
    table = taken_away / "after" / "test.csv"
    one = write_table(taken_away / "after", rows_of(table)[-1:], "one.csv")
    [alone], among = predicted(taken_away / "retrained", one), predicted(taken_away / "retrained", table)
    assert without(alone, "row") == pytest.approx(without(among[-1], "row"))


def test_a_category_that_is_new_counts_as_none_and_is_told(taken_away, capsys):
    [row, *_] = rows_of(taken_away / "after" / "test.csv")
    rows = [row | {"age": "7", "city": city} for city in ("Tōkyō", "")]
    table = write_table(taken_away / "after", rows, "new.csv")
    new, none = predicted(taken_away / "retrained", table)
    assert without(new, "row") == without(none, "row")
    assert "column city: 1 of 2 rows have a category that no training row had" in capsys.readouterr().err


def test_what_is_missing_is_missing_and_a_row_of_nothing_is_bad(taken_away, capsys):
    [row, *_] = rows_of(taken_away / "after" / "test.csv")
    some, nothing = row | {"photo": "", "sound": "", "age": "NA"}, dict.fromkeys(row, "")
    table = write_table(taken_away / "after", [some, nothing], "gaps.csv")
    message = refused(capsys, taken_away / "retrained", table)
    assert "gaps.csv: row 2, every modality that the network reads is missing: photo, sound" in message
    assert "--on-bad-row skip" in message
    kept, empty = predicted(taken_away / "retrained", table, "--on-bad-row", "skip")
    assert sum(float(kept[f"probability of {name}"]) for name in ("cat", "dog")) == pytest.approx(1)
    assert set(without(empty, "row").values()) == {""}
    assert "1 of 2 rows have no prediction: row 2, every modality" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_and_a_number_that_is_none_are_named_with_their_rows(taken_away, capsys):
    [row, *_] = rows_of(taken_away / "after" / "test.csv")
    (taken_away / "after" / "torn.png").write_bytes(b"\x89PNG")
    rows = [row, row | {"photo": "torn.png"}, row | {"sound": "gone.wav"}, row | {"age": "old"}]
    message = refused(capsys, taken_away / "retrained", write_table(taken_away / "after", rows, "bad.csv"))
    for place, reason in (
        (2, "column photo: "),
        (3, "column sound: "),
        (4, "column age: 'old' is not a number"),
    ):
        assert f"row {place}, {reason}" in message
    assert "torn.png cannot be read" in message
    assert "gone.wav does not exist" in message


def test_a_column_that_is_missing_is_named_with_what_it_is_for(taken_away, capsys):
    rows = [without(row, "age", "words") for row in rows_of(taken_away / "after" / "test.csv")]
    message = refused(capsys, taken_away / "retrained", write_table(taken_away / "after", rows, "few.csv"))
    assert (
        "few.csv lacks columns that the network was trained on: 'words' (text, for the modality words), "
        in message
    )
    assert "'age' (tabular, for the modality facts); it has photo, sound, city" in message


ENCODERS = {"image": {"cnn": {}}, "text": {"bag": {}}, "vector": {"mlp": {}}}


def model_of(file, name, dataset, present=None):
    """The file of a network of a dataset, untrained, and the network."""
    encoders = {modality: ENCODERS[spec.kind] for modality, spec in dataset.modalities.items()}
    architecture = Architecture(SPACE | {"encoders": encoders, "present": present or {}})
    network = nas.build(architecture, dataset.modalities, dataset.task).eval()
    data = (dataset.modalities, dataset.task, (), Preprocessing.of(name, dataset))
    file.write_bytes(to_safetensors(network, Description(architecture, *data)))
    return file, network


def notes(folder, **columns):
    """A manifest of texts for a model's own tokenizer, lists of numbers and labels; its dataset."""
    tiny_tokenizer(folder / "bert")
    rows = [
        {"said": "the cat sleeps" if n % 2 else "a dog", "sizes": json.dumps([n, n * n])}
        | {name: label(n) for name, label in columns.items()}
        for n in range(40)
    ]
    modalities = {"note": {"text": "said", "tokenizer": "bert", "length": 6}, "sizes": {"vector": "sizes"}}
    table, [label] = write_table(folder, rows), columns
    return nas.load_dataset("manifest", str(table), label=label, modalities=modalities), rows


@pytest.mark.parametrize(
    ("label", "value", "columns"),
    [
        ("amount", lambda n: n / 3 + 0.1, ["predicted amount"]),
        ("kinds", lambda n: ["a", "a|b", "b|c"][n % 3], [f"probability of {name}" for name in "abc"]),
    ],
)
def test_every_task_has_its_columns_and_a_given_tokenizer_is_taken_along(label, value, columns, tmp_path):
    dataset, rows = notes(tmp_path, **{label: value})
    model, network = model_of(tmp_path / "model.safetensors", "manifest", dataset)
    shutil.rmtree(tmp_path / "bert")
    test = dataset.splits["test"]
    table = write_table(tmp_path, [rows[row] for row in test.samples], "new.csv")
    batch = test.batch(torch.arange(len(test)))
    outputs = network(batch.inputs, batch.masks).detach().numpy().reshape(len(test), -1)
    expected = outputs if label == "amount" else 1 / (1 + np.exp(-outputs))
    found = predicted(model, table)
    assert list(found[0]) == ["row", *(["prediction"] if label == "kinds" else []), *columns]
    values = [[float(row[name]) for name in columns] for row in found]
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    for row, likely in zip(found, expected > 0.5, strict=True):
        if label == "kinds":
            assert row["prediction"] == "|".join(np.array(["a", "b", "c"])[likely])


def test_columns_of_a_modality_that_the_network_does_not_use_need_not_be_there(tmp_path):
    dataset, rows = notes(tmp_path, kind=lambda n: "xy"[n % 2])
    model, network = model_of(tmp_path / "model.safetensors", "manifest", dataset, {"note": False})
    table = write_table(tmp_path, [without(row, "said", "kind") for row in rows], "new.csv")
    assert len(predicted(model, table)) == len(rows)
    assert list(network.encoders) == ["sizes"]


def test_a_dataset_of_a_plugin_may_offer_it_and_one_that_does_not_says_so(tmp_path, toy, capsys):
    toy.write_text(toy.read_text() + OFFERING)
    nas.require_plugins([toy])
    model, _ = model_of(tmp_path / "toy.safetensors", "toy", nas.load_dataset("toy"))
    assert "the dataset toy cannot read new samples" in refused(capsys, model, tmp_path / "x.csv")
    model, _ = model_of(tmp_path / "toy.safetensors", "offering", nas.load_dataset("offering"))
    (tmp_path / "new.csv").write_text("3")
    assert len(predicted(model, tmp_path / "new.csv")) == 3


def test_the_plugin_of_a_dataset_is_asked_for(tmp_path, toy, capsys):
    nas.require_plugins([toy])
    model, _ = model_of(tmp_path / "toy.safetensors", "toy", nas.load_dataset("toy"))
    network, description = load_described(model)
    needing = replace(description, preprocessing=Preprocessing("stranger"), plugins=("stranger.py",))
    model.write_bytes(to_safetensors(network, needing))
    message = refused(capsys, model, tmp_path / "x.csv")
    assert "the data of" in message
    assert "'stranger'" in message
    assert "Plugins of its search: stranger.py; pass their files" in message
    assert "--plugins" in message


OFFERING = """
from nas.datasets.unlabelled import Unlabelled


@nas.register("dataset", "offering")
class Offering(Toy):
    learnt = {"brightness": 2}

    @classmethod
    def unlabelled(cls, source, learnt, modalities):
        count = int(open(source).read())
        inputs = {"image": torch.ones(count, 1, 8, 8) * learnt["brightness"]}
        inputs["text"] = torch.ones(count, 5, dtype=torch.long)
        return Unlabelled(TensorSplit(inputs, torch.zeros(count)))
"""


def test_a_wrong_request_is_one_line(taken_away, tmp_path, capsys):
    table = taken_away / "after" / "test.csv"
    model = taken_away / "retrained"
    assert "does not exist; write it with" in refused(capsys, tmp_path, table)
    assert "the manifest gone.csv does not exist" in refused(capsys, model, "gone.csv")
    for out, reason in ((table, "would write over the samples"), ("x.txt", "ends in .csv")):
        assert predict.main([str(model), str(table), "--out", str(out)]) == 2
        assert reason in capsys.readouterr().err
    assert predict.main([str(model), str(table), "--out", str(table / "x.csv")]) == 2
    assert "cannot be written: File exists" in capsys.readouterr().err


def test_a_file_of_an_earlier_version_is_to_be_made_again(tmp_path, taken_away, capsys):
    network, description = load_described(taken_away / "retrained")
    model = tmp_path / "old.safetensors"
    model.write_bytes(to_safetensors(network, replace(description, preprocessing=None)))
    message = refused(capsys, model, taken_away / "after" / "test.csv")
    assert "does not say how its data were prepared" in message


def test_the_card_and_the_report_say_of_what_the_network_has_learnt_and_how_new_rows_are_predicted(
    taken_away,
):
    card = (taken_away / "retrained" / "README.md").read_text()
    assert "A network for classification on `data.csv`" in card
    assert "It has learnt from the training samples of `data.csv` alone" in card
    assert "`python -m nas.predict THIS_FOLDER NEW.csv`" in card
    assert str(taken_away) not in card
    shown = (taken_away / "report.html").read_text(encoding="utf-8")
    assert "A search of 1 networks on data.csv: 1 complete." in shown
    assert "python -m nas.predict model NEW.csv" in shown
