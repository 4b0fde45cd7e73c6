"""Arrays in files: `arrays` and `avmnist` map them, and say what is wrong with them."""

import numpy as np
import pytest
import torch
import yaml
from pretrained import tiny_tokenizer

import nas
from nas.errors import RequestError

MODALITIES = {
    "photo": {"image": "photo"},
    "sound": {"audio": "sound", "present": "has_sound"},
    "words": {"text": "ids", "mask": "real"},
    "facts": {"vector": "facts", "normalise": False},
}
COUNT = 60


def arrays(count=COUNT):
    rng = np.random.default_rng(0)
    return {
        "photo": rng.integers(0, 255, (count, 6, 5, 3), dtype=np.uint8),
        "sound": rng.normal(3, 2, (count, 4, 7)).astype(np.float32),
        "has_sound": np.arange(count) % 4 > 0,
        "ids": rng.integers(1, 9, (count, 5)),
        "real": np.arange(5) < rng.integers(1, 6, (count, 1)),
        "facts": rng.normal(5, 2, (count, 2)),
        "label": np.arange(count) % 2,
        "split": np.arange(count) % 3,
        "family": np.arange(count) // 4,
    }


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    for name, array in (arrays() | changes).items():
        np.save(folder / f"{name}.npy", array)
    return folder


def load(source, modalities=MODALITIES, **options):
    cache = str(source.parent / "cache")
    return nas.load_dataset("arrays", str(source), modalities=modalities, cache=cache, **options)


def whole(split):
    return split.batch(torch.arange(len(split)))


@pytest.fixture(params=["npy", "npz", "packed"])
def source(request, tmp_path):
    if request.param == "npy":
        return write(tmp_path / "data")
    save = np.savez if request.param == "npz" else np.savez_compressed
    save(tmp_path / "data.npz", **arrays())
    return tmp_path / "data.npz"


def test_arrays_become_batches(source):
    dataset = load(source, split="split")
    stored, own = arrays(), np.arange(COUNT) % 3 == 1
    assert dataset.task == nas.Task("classification", ("0", "1"))
    shapes = {name: spec.shape for name, spec in dataset.modalities.items()}
    assert shapes == {"photo": (3, 6, 5), "sound": (1, 4, 7), "words": (5,), "facts": (2,)}
    assert dataset.modalities["words"].vocabulary == 9
    batch = whole(dataset.splits["validation"])
    assert batch.labels.tolist() == stored["label"][own].tolist()
    assert batch.masks["words"].tolist() == stored["real"][own].tolist()
    assert batch.inputs["words"].tolist() == stored["ids"][own].tolist()
    assert batch.present[:, 1].tolist() == stored["has_sound"][own].tolist()
    assert batch.present[:, [0, 2, 3]].all()
    np.testing.assert_allclose(batch.inputs["facts"], stored["facts"][own].astype(np.float32))
    pixels = stored["photo"].transpose(0, 3, 1, 2).astype(float)
    learnt = pixels[np.arange(COUNT) % 3 == 0]
    expected = (pixels[own] - learnt.mean((0, 2, 3), keepdims=True)) / learnt.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(batch.inputs["photo"], expected, atol=1e-4)


def test_they_keep_the_contract_of_a_dataset(source, tmp_path):
    cache = str(tmp_path / "cache")
    nas.check_component("dataset", "arrays", source=str(source), modalities=MODALITIES, cache=cache)
    nas.check_component("dataset", "avmnist", source=str(write_digits(tmp_path / "digits")), train=9)


def test_arrays_are_mapped_and_not_read(source):
    for name, part in load(source).splits["train"].encoded.items():
        array = part.array
        while array.base is not None and not isinstance(array, np.memmap):
            array = array.base
        assert isinstance(array, np.memmap), name


def test_splits_that_are_drawn_keep_groups_together(tmp_path):
    dataset = load(write(tmp_path / "data"), group="family", validation=0.25, test=0.25)
    families = [set((split.samples // 4).tolist()) for split in dataset.splits.values()]
    assert sum(map(len, families)) == COUNT // 4
    assert all(families)


def test_labels_of_several_columns_and_strings_as_texts(tmp_path):
    words = np.array([f"слово {n % 7}" for n in range(COUNT)])
    folder = write(tmp_path / "data", label=np.random.default_rng(0).integers(0, 2, (COUNT, 3)), ids=words)
    dataset = load(folder, {"words": {"text": "ids"}})
    assert dataset.task == nas.Task("multilabel", ("label_0", "label_1", "label_2"))
    batch = whole(dataset.splits["train"])
    assert batch.labels.shape[1:] == (3,)
    assert (batch.inputs["words"][:, 0] == batch.inputs["words"][0, 0]).all()


def test_strings_may_have_a_model_s_own_tokenizer(tmp_path):
    words = np.array([f"the {('cat', 'dog')[n % 2]} runs" for n in range(COUNT)])
    folder = write(tmp_path / "data", label=np.arange(COUNT) % 2, ids=words)
    tiny_tokenizer(tmp_path)
    dataset = load(folder, {"words": {"text": "ids", "tokenizer": "tokenizer.json"}})
    batch = whole(dataset.splits["train"])
    expected = torch.tensor([[2, 4, 5, 7, 3], [2, 4, 6, 7, 3]])[batch.labels]
    assert torch.equal(batch.inputs["words"], expected)
    with pytest.raises(RequestError, match=r"modalities\.words\.tokenizer: .* does not exist"):
        load(folder, {"words": {"text": "ids", "tokenizer": "bert"}})


def test_a_label_of_floats_is_a_regression(tmp_path):
    dataset = load(write(tmp_path / "data", label=np.linspace(0, 1, COUNT)), task="regression")
    assert dataset.task.kind == "regression"
    assert whole(dataset.splits["train"]).labels.dtype == torch.float32


def test_a_waveform_is_an_array_of_samples_with_one_mean(tmp_path):
    waves = np.random.default_rng(0).normal(2, 3, (COUNT, 50))
    dataset = load(write(tmp_path / "data", sound=waves), {"sound": {"audio": "sound"}})
    assert dataset.modalities["sound"].shape == (50,)
    values = whole(dataset.splits["train"]).inputs["sound"]
    assert (values.mean().item(), values.std().item()) == pytest.approx((0, 1), abs=0.01)


def pickled(folder):
    np.save(folder / "photo.npy", np.array([{"a": 1}] * COUNT), allow_pickle=True)


def cut(folder):
    file = folder / "photo.npy"
    file.write_bytes(file.read_bytes()[:-50])


WRONG = {
    "pickled": (pickled, {}, "photo is no array of numbers or strings, or is damaged"),
    "cut short": (cut, {}, "photo is no array of numbers or strings, or is damaged"),
    "no array": (
        lambda folder: (folder / "photo.npy").write_text("hello"),
        {},
        "photo is no array of numbers or strings, or is damaged (This file contains pickled (object) data.)",
    ),
    "texts of no token": ({"ids": np.zeros((COUNT, 0), int)}, {}, "ids is int64 (60, 0); text is token ids"),
    "nothing declared": (None, {"modalities": None}, "None declares nothing"),
    "a kind of files": (
        None,
        {"modalities": {"facts": {"tabular": "facts"}}},
        "a KIND of image, audio, vector",
    ),
    "an option of files": (
        None,
        {"modalities": {"photo": {"image": "photo", "size": 8}}},
        "'size' is not an option",
    ),
    "no such array": (None, {"modalities": {"photo": {"image": "foto"}}}, "did you mean 'photo'"),
    "no such mask": (None, {"modalities": {"w": {"text": "ids", "mask": "reel"}}}, "did you mean 'real'"),
    "no such label": (None, {"label": "labels"}, "has no label array 'labels'; did you mean 'label'"),
    "another count": ({"facts": np.zeros((7, 2))}, {}, "facts has 7 samples, and the labels have 60"),
    "axes": ({"photo": np.zeros((COUNT, 2))}, {}, "the array is (60, 2); image is (N, H, W)"),
    "words as a picture": ({"photo": np.array(["a"] * COUNT)}, {}, "the array holds <U1, not numbers"),
    "numbers below zero": ({"ids": np.full((COUNT, 5), -1)}, {}, "text is token ids (N, T) of at least 0"),
    "nan": (
        {"photo": np.full((COUNT, 4, 4), np.nan)},
        {},
        "'photo' holds values that are not finite numbers",
    ),
    "infinite": (
        {"facts": np.full((COUNT, 2), np.inf)},
        {"modalities": {"f": {"vector": "facts"}}},
        "not finite",
    ),
    "no label": ({"label": np.full(COUNT, np.nan)}, {}, "row 1, column label: the label is empty"),
    "a mask of another shape": (
        {"real": np.ones((COUNT, 4), bool)},
        {},
        "real is (60, 4), and ids is (60, 5)",
    ),
    "an unknown split": (
        {"split": np.full(COUNT, 7)},
        {"split": "split"},
        "row 1, column split: '7' is no split",
    ),
    "one class": ({"label": np.zeros(COUNT, int)}, {}, "has 1 class in the training split"),
    "several labels": (None, {"label": ["label"]}, "data.label: ['label'] is not allowed; give the name"),
    "several groups": (None, {"group": ["label"]}, "data.group: ['label'] is not allowed"),
    "complex numbers": ({"photo": np.ones((COUNT, 4, 4), complex)}, {}, "holds complex128, not numbers"),
    "a single number": ({"photo": np.array(3.0)}, {}, "photo has no axis of samples, and the labels have 60"),
    "no numbers": ({"photo": np.ones((COUNT, 0, 4))}, {}, "the array is (60, 0, 4), which holds nothing"),
    "ids beyond all vocabularies": ({"ids": np.full((COUNT, 5), 2**40)}, {}, "they must be below 10,000,000"),
    "presence of another shape": (
        {"there": np.ones((COUNT, 2), bool)},
        {"modalities": {"photo": {"image": "photo", "present": "there"}}},
        "modalities.photo.present: there is (60, 2); it must be (60,)",
    ),
    "a label that is missing": (
        {"label": np.where(np.arange(COUNT) == 3, np.nan, np.arange(COUNT))},
        {},
        "row 4, column label: the label is empty. Mend them",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_an_array_is_one_clear_line_of_the_search_command(case, tmp_path, capsys):
    from nas.search.__main__ import main

    change, options, message = WRONG[case]
    folder = write(tmp_path / "data", **(change if isinstance(change, dict) else {}))
    if callable(change):
        change(folder)
    options = {"modalities": MODALITIES, "cache": str(tmp_path / "cache")} | options
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": {"arrays": "data", **options}}))
    assert main([str(tmp_path / "mine.yaml"), "--run-dir", str(tmp_path / "run")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "rows"), [("sound", [6]), ("facts", [5, 6])])
def test_a_value_that_no_float32_holds_is_named_in_any_split_unless_it_is_marked_as_absent(
    name, rows, tmp_path
):
    values = arrays()[name].astype(np.float64)
    values[4], values[5] = np.nan, 1e300  # for validation and test; sample 4 has no sound
    folder = write(tmp_path / "data", **{name: values})
    reason = f"'{name}' holds values that are not finite numbers; mark them as not present"
    with pytest.raises(RequestError) as caught:
        load(folder, split="split")
    assert f"{folder}: {'; '.join(f'row {row}, {reason}' for row in rows)}. Mend them" in str(caught.value)


def test_a_source_that_is_none_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.npz").write_bytes(b"PK no more")
    with pytest.raises(RequestError, match="holds no arrays"):
        load(tmp_path / "empty")
    with pytest.raises(RequestError, match=r"is no \.npz file, or is damaged"):
        load(tmp_path / "data.npz")
    with pytest.raises(RequestError, match="does not exist"):
        load(tmp_path / "nowhere")
    np.savez_compressed(tmp_path / "bad.npz", **arrays())
    content = bytearray((tmp_path / "bad.npz").read_bytes())
    content[200:900] = bytes(700)
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(RequestError, match=r"bad\.npz: photo is damaged"):
        load(tmp_path / "bad.npz")


# avmnist


def write_digits(folder, counts=None):
    rng = np.random.default_rng(0)
    for part, count in (counts or {"train": 12, "test": 5}).items():
        for name, size in (("image", (784,)), ("audio", (112, 112))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{part}_data.npy", rng.integers(0, 256, (count, *size), dtype=np.uint8))
        np.save(folder / f"{part}_labels.npy", np.arange(count) % 10)
    return folder


def test_the_layout_of_multibench_is_read(tmp_path):
    dataset = nas.load_dataset("avmnist", str(write_digits(tmp_path)), train=9)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 9,
        "validation": 3,
        "test": 5,
    }
    assert [spec.shape for spec in dataset.modalities.values()] == [(1, 28, 28), (1, 112, 112)]
    pixels = np.load(tmp_path / "image" / "train_data.npy")[9:].reshape(3, 1, 28, 28) / 255
    batch = whole(dataset.splits["validation"])
    np.testing.assert_allclose(batch.inputs["image"], pixels, atol=1e-6)
    assert batch.labels.tolist() == [9, 0, 1]
    assert list(nas.load_dataset("avmnist", str(tmp_path), ["audio"], train=9).modalities) == ["audio"]


def test_by_default_the_first_55000_are_for_training(tmp_path):
    with pytest.raises(RequestError, match="train: 55000 is not allowed"):
        nas.load_dataset("avmnist", str(write_digits(tmp_path)))


@pytest.mark.parametrize("train", [0, 12, "many", 2.5, True])
def test_a_number_of_training_samples_that_is_none_is_refused(train, tmp_path):
    with pytest.raises(RequestError, match=f"train: {train!r} is not allowed.*a whole number from 1 to 11"):
        nas.load_dataset("avmnist", str(write_digits(tmp_path)), train=train)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("image/test_data.npy", np.zeros((5, 100)), "5 samples of 784 numbers each are expected"),
        ("audio/train_data.npy", np.zeros((3, 112, 112)), "12 samples of 12544 numbers each are expected"),
        ("test_labels.npy", np.full(5, 10), "does not hold one digit per sample"),
        ("train_labels.npy", np.zeros((12, 2)), "does not hold one digit per sample"),
        ("train_labels.npy", None, "train_labels.npy does not exist"),
    ],
)
def test_a_file_of_the_layout_that_is_wrong_is_named(name, array, message, tmp_path):
    file = write_digits(tmp_path) / name
    file.unlink() if array is None else np.save(file, array)
    with pytest.raises(RequestError, match=message):
        nas.load_dataset("avmnist", str(tmp_path), train=9)
