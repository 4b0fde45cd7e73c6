"""Datasets of the Hugging Face library on disk are read as a manifest of the same samples is."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from pretrained import tiny_tokenizer

import nas
from nas.errors import RequestError

datasets = pytest.importorskip("datasets")
COUNT = 48
MODALITIES = {
    "photo": {"image": "photo", "size": 8},
    "sound": {"audio": "sound", "rate": 8000, "seconds": 0.1, "bands": 4, "frames": 5},
    "words": {"text": "words"},
    "embedding": {"vector": "embedding"},
    "facts": {"tabular": ["age", "city"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same samples as `data.csv` with files, and as the dataset `whole` and the dictionary `parts`."""
    folder = tmp_path_factory.mktemp("huggingface")
    datasets.disable_progress_bars()
    rows = []
    rng = np.random.default_rng(0)
    for n in range(COUNT):
        Image.fromarray(rng.integers(0, 255, (9 + n % 3, 7, 3), dtype=np.uint8)).save(folder / f"{n}.png")
        soundfile.write(folder / f"{n}.flac", 0.1 * rng.normal(size=900), 8000)
        rows.append(
            {
                "photo": f"{n}.png",
                "sound": f"{n}.flac" if n % 5 else None,
                "words": f"word {n % 7}" if n % 6 else None,
                "embedding": [n / 10, 1.0],
                "age": n % 9,
                "city": ("Oslo", "Łódź")[n % 2],
                "label": ("dog", "cat")[n % 2],
            }
        )
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    blob = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features(
        {
            "photo": blob,
            "sound": blob,
            "words": datasets.Value("string"),
            "embedding": datasets.List(datasets.Value("float32")),
            "age": datasets.Value("int64"),
            "city": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["dog", "cat"]),
        }
    )
    packed = [
        row
        | {name: row[name] and {"bytes": (folder / row[name]).read_bytes(), "path": None} for name in blobs}
        for blobs in [("photo", "sound")]
        for row in rows
    ]
    typed = features | {"photo": datasets.Image(), "sound": datasets.Audio()}
    made = datasets.Dataset.from_list(packed, features=features).cast(datasets.Features(typed))
    made.save_to_disk(folder / "whole")
    parts = {"train": made.select(range(30)), "test": made.select(range(30, 40)), "spare": made.select([40])}
    datasets.DatasetDict(parts).save_to_disk(folder / "parts")
    return folder


def test_texts_may_have_a_model_s_own_tokenizer(folder):
    tiny_tokenizer(folder / "whole" / "model")
    modalities = {"words": {"text": "words", "tokenizer": "model"}}
    dataset = load(folder, modalities=modalities, on_bad_row="skip")
    batch = dataset.splits["train"].batch(torch.arange(20))
    assert batch.inputs["words"].tolist() == [[2, 1, 1, 3]] * 20  # "word 3", both unknown


def load(folder, name="whole", **options):
    cache = str(folder / "cache")
    return nas.load_dataset("huggingface", str(folder / name), cache=cache, **options)


def whole(split):
    return split.batch(torch.arange(len(split)))


def test_it_gives_what_a_manifest_of_the_same_samples_does(folder):
    hugging = load(folder, modalities=MODALITIES)
    cache = str(folder / "cache")
    manifest = nas.load_dataset(
        "manifest", str(folder / "data.csv"), label="label", modalities=MODALITIES, cache=cache
    )
    assert hugging.task == manifest.task
    assert hugging.modalities == manifest.modalities
    for split, samples in hugging.splits.items():
        mine, other = whole(samples), whole(manifest.splits[split])
        assert torch.equal(mine.labels, other.labels)
        assert torch.equal(mine.present, other.present)
        for name, values in mine.inputs.items():
            torch.testing.assert_close(values, other.inputs[name])


def test_new_samples_are_read_as_those_that_it_has_learnt_from(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    hugging = load(folder, modalities=MODALITIES)
    learnt = json.loads(json.dumps(hugging.learnt))
    unlabelled = type(hugging).unlabelled(str(folder / "whole"), learnt, list(MODALITIES))
    assert unlabelled.bad == {}
    for split in hugging.splits.values():
        again, known = unlabelled.split.batch(torch.from_numpy(split.samples)), whole(split)
        assert torch.equal(again.present, known.present)
        assert all(torch.equal(again.inputs[name], known.inputs[name]) for name in MODALITIES)


def test_it_keeps_the_contract_of_a_dataset(folder):
    cache = str(folder / "cache")
    nas.check_component("dataset", "huggingface", source=str(folder / "parts"), cache=cache)


def test_the_features_say_what_the_columns_are(folder):
    dataset = load(folder)
    kinds = {name: spec.kind for name, spec in dataset.modalities.items()}
    assert kinds == {
        "photo": "image",
        "sound": "audio",
        "embedding": "vector",
        "tabular": "vector",
    }  # and words, of which there are few, are categories


def test_the_parts_are_the_splits_and_what_is_missing_is_drawn_from_training(folder):
    dataset = load(folder, "parts")
    assert len(dataset.splits["test"]) == 10
    assert len(dataset.splits["train"]) + len(dataset.splits["validation"]) == 30
    [note] = dataset.notes
    assert note.endswith("the part spare is not used")


def test_what_is_no_dataset_is_named(folder, tmp_path):
    with pytest.raises(RequestError, match="is not a folder"):
        load(tmp_path, "nowhere")
    with pytest.raises(RequestError, match="is not what `save_to_disk` writes"):
        load(tmp_path, ".")
    with pytest.raises(RequestError, match="has no label column 'lable'; did you mean 'label'"):
        load(folder, label="lable")
