"""The manifest: untidy files become tensors, and what is wrong is said with its row."""

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow
import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import MODALITIES, MODES, write_picture, write_samples, write_sound, write_table
from PIL import Image
from pretrained import tiny_tokenizer
from pyarrow import parquet
from searches import ENVIRONMENT

import nas
from nas.datasets import _readers
from nas.datasets._cache import DIGEST_BYTES, Cache
from nas.datasets._columns import IMAGES
from nas.datasets._media import log_mel, mel_filters, picture, waveform
from nas.datasets._split import assign
from nas.errors import RequestError


def load(file, **options):
    usual = {"label": "label", "cache": str(file.parent / "cache")}
    return nas.load_dataset("manifest", source=str(file), **usual | options)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


def whole(split):
    return split.batch(torch.arange(len(split)))


def test_pictures_sounds_texts_and_tables_become_batches(samples):
    dataset = load(samples, modalities=MODALITIES)
    assert dataset.task.classes == ("cat", "dog")
    shapes = {name: (spec.kind, spec.shape) for name, spec in dataset.modalities.items()}
    assert shapes["photo"] == ("image", (3, 16, 16))
    assert shapes["sound"] == ("audio", (1, 8, 12))
    assert shapes["facts"] == ("vector", (4,))  # age, whether it is missing, and two cities
    assert dataset.modalities["facts"].columns == (2, 2)
    assert sum(map(len, dataset.splits.values())) == 60
    batch = whole(dataset.splits["train"])
    for name, spec in dataset.modalities.items():
        values = batch.inputs[name]
        assert values.shape == (len(batch.labels), *spec.shape)
        assert values.isfinite().all()
        assert values.dtype == (torch.int64 if spec.kind == "text" else torch.float32)
    assert batch.inputs["words"].max() < dataset.modalities["words"].vocabulary
    assert torch.equal(batch.masks["words"], batch.inputs["words"] != 0)


def test_it_keeps_the_contract_of_a_dataset(samples):
    cache = str(samples.parent / "cache")
    nas.check_component("dataset", "manifest", source=str(samples), label="label", cache=cache)
    nas.check_component(
        "dataset", "manifest", source=str(samples), label="label", modalities=MODALITIES, cache=cache
    )


def test_an_empty_cell_is_a_missing_modality(samples):
    dataset = load(samples, modalities=MODALITIES)
    names = list(MODALITIES)
    present = torch.cat([whole(split).present for split in dataset.splits.values()])
    assert (~present[:, names.index("photo")]).sum() == 6
    assert (~present[:, names.index("sound")]).sum() == 6
    assert present[:, names.index("words")].all()


def test_floats_are_standardised_on_the_training_split_alone(samples):
    batch = whole(load(samples, modalities=MODALITIES).splits["train"])
    for column, name in enumerate(MODALITIES):
        if name in ("photo", "sound"):
            values = batch.inputs[name][batch.present[:, column]]
            assert values.mean((0, 2, 3)) == pytest.approx([0] * values.shape[1], abs=1e-4)
            assert values.std((0, 2, 3), correction=0) == pytest.approx([1] * values.shape[1], abs=1e-4)


def test_what_is_not_declared_is_inferred(samples, tmp_path):
    cat, dog = (samples.parent / name for name in ("1.png", "2.png"))
    rows = [
        {
            "picture": str(cat if n % 2 else dog),
            "story": f"the {n}th tale of one",
            "age": n,
            "colour": ("red", "blue", "")[n % 3],
            "nothing": "",
            "label": "ab"[n % 2],
        }
        for n in range(30)
    ]
    dataset = load(write_table(tmp_path, rows))
    kinds = {name: spec.kind for name, spec in dataset.modalities.items()}
    assert kinds == {"picture": "image", "story": "text", "tabular": "vector"}
    assert dataset.modalities["tabular"].shape == (3,)  # age, and two colours


def test_a_dry_run_says_what_came_of_a_table(tmp_path, capsys):
    from nas.search.__main__ import main

    rows = [
        {
            "words": f"word {n:02}",
            "age": n,
            "city": ("Oslo", "[b]Rome")[n % 2],
            "kind": "[red]" + "abcdef"[n % 6],
        }
        for n in range(60)
    ]
    file = write_table(tmp_path, rows)
    data = {"manifest": str(file), "label": "kind", "cache": str(tmp_path / "cache")}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"data": data, "space": {"dim": 8, "fusion": "concat"}})
    )
    assert main([str(tmp_path / "mine.yaml"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "data: classification, classes (6): [red]a, [red]b, [red]c, [red]d, [red]e, …" in shown
    assert "train 42, validation 9, test 9" in shown
    assert "words: text (7,), 17 tokens" in shown
    assert "tabular: vector (3,), columns of 1 + 2" in shown


def test_a_parquet_file_gives_what_the_csv_does(samples, tmp_path):
    with samples.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    table = {
        name: [float(r[name]) if name == "age" and r[name] else r[name] or None for r in rows]
        for name in rows[0]
    }
    file = samples.with_suffix(".parquet")
    parquet.write_table(pyarrow.table(table), file)
    one, other = (whole(load(f, modalities=MODALITIES).splits["test"]) for f in (samples, file))
    for name in MODALITIES:
        assert torch.equal(one.inputs[name], other.inputs[name])
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_any_mode_has_the_asked_shape(mode, channels, tmp_path):
    file = tmp_path / f"x.{'tif' if mode == 'CMYK' else 'png'}"
    write_picture(file, mode, (11, 5), bright=True)
    assert picture(file.read_bytes(), 8, channels).shape == (channels, 8, 8)


def test_a_transparent_picture_lies_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "x.png")
    assert picture((tmp_path / "x.png").read_bytes(), 4, 3)[:, 0, 0].tolist() == pytest.approx(
        [255, 127, 127], abs=1
    )


@pytest.mark.parametrize(("rate", "suffix"), [(8000, "wav"), (22050, "ogg"), (44100, "flac"), (32000, "mp3")])
def test_a_tone_of_any_rate_and_format_is_loudest_in_its_own_band(rate, suffix, tmp_path):
    write_sound(tmp_path / f"x.{suffix}", rate, 0.5, 1000, 2)
    spectrogram = log_mel((tmp_path / f"x.{suffix}").read_bytes(), 16000, 0.4, 16, 10)
    assert spectrogram.shape == (1, 16, 10)
    assert spectrogram.max() == 0
    assert spectrogram.min() >= -80
    mel = 2595 * np.log10(1 + 1000 / 700)
    lowest, highest = 2595 * np.log10(1 + np.array([60, 8000]) / 700)
    band = (mel - lowest) / (highest - lowest) * 17 - 1
    assert abs(spectrogram[0].mean(1).argmax() - band) <= 1


@given(st.sampled_from([8000, 16000, 44100]), st.integers(2, 80))
def test_every_mel_band_hears_something(rate, bands):
    filters = mel_filters(rate, round(rate * 0.025), bands)
    assert (filters.sum(1) > 0).all()
    assert (filters >= 0).all()


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_what_only_other_splits_say_is_unknown(tokens, tmp_path):
    rows = [{"words": "abba abab" if n < 20 else "zzz", "label": "xy"[n % 2]} for n in range(30)]
    for n, row in enumerate(rows):
        row["split"] = "train" if n < 20 else "val" if n < 25 else "test"
    dataset = load(
        write_table(tmp_path, rows), split="split", modalities={"w": {"text": "words", "tokens": tokens}}
    )
    assert (whole(dataset.splits["train"]).inputs["w"] > 1).any()
    assert not (whole(dataset.splits["train"]).inputs["w"] == 1).any()
    assert set(whole(dataset.splits["test"]).inputs["w"].unique().tolist()) <= {0, 1}


SAID = ["the cat sleeps", "the dog runs", "cat", "a bird", "the cat runs the dog runs"]


def said(folder, **options):
    rows = [{"words": SAID[n % 5] if n else "", "age": n, "label": "xy"[n % 2]} for n in range(40)]
    modalities = {"w": {"text": "words"} | options, "age": {"tabular": ["age"]}}
    return load(write_table(folder, rows), modalities=modalities)


@pytest.mark.parametrize(
    "special", [("[PAD]", "[UNK]", "[CLS]", "[SEP]"), ("[CLS]", "[PAD]", "[SEP]", "[UNK]")]
)
def test_a_model_s_own_tokenizer_gives_its_own_ids(special, tmp_path):
    from transformers import PreTrainedTokenizerFast

    file = tiny_tokenizer(tmp_path / "model", special)
    reference = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="[PAD]")
    for place in ("model", "model/tokenizer.json", str(tmp_path / "model")):
        dataset = said(tmp_path, tokenizer=place, length=6)
        assert dataset.modalities["w"] == nas.ModalitySpec("text", (6,), vocabulary=9)
        for split in dataset.splits.values():
            batch = whole(split)
            texts = ["" if not n else SAID[n % 5] for n in split.samples]
            known = reference(texts, padding="max_length", max_length=6, truncation=True, return_tensors="pt")
            real = known["attention_mask"].bool() & batch.present[:, :1]
            assert torch.equal(batch.masks["w"], real)
            assert torch.equal(batch.inputs["w"][real], known["input_ids"][real])
            assert not batch.inputs["w"][~real].any()


def test_another_tokenizer_in_the_same_place_is_noticed(tmp_path):
    tiny_tokenizer(tmp_path)
    before = whole(said(tmp_path, tokenizer=".").splits["train"]).inputs["w"]
    assert before.shape[1] == 8  # of the longest text, with [CLS] and [SEP]
    tiny_tokenizer(tmp_path, words="sleeps runs dog cat the")
    after = whole(said(tmp_path, tokenizer=".").splits["train"]).inputs["w"]
    assert torch.equal(before > 3, after > 3)
    assert not torch.equal(before, after)


def test_a_vector_is_a_list_in_one_column_or_numbers_in_several(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"a": x, "b": y, "both": json.dumps([x, y]), "label": "xy"[n % 2]}
        for n, (x, y) in enumerate(rng.normal(size=(40, 2)).tolist())
    ]
    file = write_table(tmp_path, rows)
    dataset = load(file, modalities={"one": {"vector": "both"}, "two": {"vector": ["a", "b"]}})
    batch = whole(dataset.splits["train"])
    torch.testing.assert_close(batch.inputs["one"], batch.inputs["two"])
    assert batch.inputs["one"].shape == (len(batch.labels), 2)


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abc"), min_size=30, max_size=200), st.integers(0, 99))
def test_splits_that_are_drawn_are_disjoint_stratified_and_the_seed_s(labels, seed):
    members, bad = assign(labels, None, None, (0.2, 0.25), seed)
    assert members.tolist() == assign(labels, None, None, (0.2, 0.25), seed)[0].tolist()
    assert not bad
    for code, share in ((1, 0.2), (2, 0.25)):
        assert abs((members == code).sum() - share * len(labels)) <= 1.5
        for name in set(labels):
            own = np.array([label == name for label in labels])
            assert abs((members[own] == code).sum() - share * own.sum()) <= 2
            assert (members[own] == 0).any()


@settings(max_examples=60)
@given(st.lists(st.none() | st.integers(0, 25), min_size=60, max_size=200), st.integers(0, 99))
def test_no_group_is_in_two_splits_and_a_row_without_one_is_on_its_own(groups, seed):
    labels = ["x" if n % 2 else "y" for n in range(len(groups))]
    members, _ = assign(labels, None, groups, (0.2, 0.2), seed)
    for group in set(groups) - {None}:
        assert len({int(code) for code, own in zip(members, groups, strict=True) if own == group}) == 1
    alone = assign(["x"] * 40, None, [None] * 40, (0.2, 0.2), seed)[0]
    assert sorted(np.bincount(alone).tolist()) == [8, 8, 24]


def test_validation_rows_are_drawn_where_the_table_names_only_the_others():
    named = ["train"] * 40 + ["TEST "] * 10
    members, _ = assign(["x", "y"] * 25, named, None, (0.25, 0.5), 0)
    assert (members[40:] == 2).all()
    assert np.bincount(members[:40]).tolist() == [30, 10]


@pytest.fixture
def decoded(monkeypatch):
    """The pictures and sounds that have been decoded so far, as bytes."""
    seen = []
    for name in ("picture", "log_mel"):
        real = getattr(_readers, name)
        monkeypatch.setattr(
            _readers, name, lambda content, real=real, **o: seen.append(content) or real(content, **o)
        )
    return seen


def same(one, other):
    for split, samples in one.splits.items():
        mine, theirs = whole(samples), whole(other.splits[split])
        assert torch.equal(mine.labels, theirs.labels)
        for name, values in mine.inputs.items():
            assert torch.equal(values, theirs.inputs[name])
    return True


def test_a_second_start_decodes_nothing_and_a_changed_file_alone_is_decoded_again(tmp_path, decoded):
    file = write_samples(tmp_path, 30)
    first = load(file, modalities=MODALITIES)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    count = len(decoded)
    assert same(first, load(file, modalities=MODALITIES))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before
    write_picture(tmp_path / "1.png", "RGB", (40, 40), bright=False)
    load(file, modalities=MODALITIES)
    assert decoded[count:] == [(tmp_path / "1.png").read_bytes()]


def test_the_cache_is_by_content_whatever_the_files_are_called(tmp_path, decoded):
    file = write_samples(tmp_path, 30)
    first = load(file, modalities=MODALITIES)
    count = len(decoded)
    moved = shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("cache", "moved"))
    cache = str(tmp_path / "cache")
    second = nas.load_dataset(
        "manifest", str(moved / file.name), label="label", modalities=MODALITIES, cache=cache
    )
    assert same(first, second)
    assert len(decoded) == count


def test_a_file_that_cannot_be_decoded_is_tried_again_only_once_it_has_changed(tmp_path, decoded):
    file = write_samples(tmp_path, 30)
    (tmp_path / "2.png").write_bytes(b"404 not found")
    (tmp_path / "5.png").unlink()
    first = load(file, modalities=MODALITIES, on_bad_row="skip")
    count = len(decoded)
    second = load(file, modalities=MODALITIES, on_bad_row="skip")
    assert (len(decoded), second.notes) == (count, first.notes)
    assert "2 of 30 rows are left out: row 3, column photo: " in first.notes[0]
    for name in ("2.png", "5.png"):
        write_picture(tmp_path / name, "RGB", (9, 11), True)
    assert load(file, modalities=MODALITIES).notes == []
    assert len(decoded) == count + 2


def test_a_file_that_one_decoder_refuses_is_tried_again_by_another_version(tmp_path, decoded, monkeypatch):
    file = write_samples(tmp_path, 30)
    (tmp_path / "2.png").write_bytes(b"404 not found")
    load(file, modalities=MODALITIES, on_bad_row="skip")
    count = len(decoded)
    monkeypatch.setattr("nas.datasets._blobs.version", lambda package: "another")
    load(file, modalities=MODALITIES, on_bad_row="skip")
    assert len(decoded) == count + 1


def test_what_a_kill_leaves_of_the_cache_is_completed(tmp_path, decoded):
    file = write_samples(tmp_path, 30)
    first = load(file, modalities=MODALITIES)
    for index in (tmp_path / "cache").glob("*.index"):  # the last rows are there, their digests half written
        os.truncate(index, index.stat().st_size - 5 * DIGEST_BYTES - 3)
    for words in (tmp_path / "cache").glob("*.words"):
        words.write_bytes(words.read_bytes()[:-9])
    count = len(decoded)
    assert same(first, load(file, modalities=MODALITIES))
    assert len(decoded) - count == 2 * 6


def test_processes_that_fill_one_pack_do_not_disturb_each_other(tmp_path):
    rows = {bytes([n]) * DIGEST_BYTES: np.full((2, 3), n, np.uint8) for n in range(9)}
    packs = [Cache(tmp_path).pack("key", (2, 3), np.uint8) for _ in range(3)]
    for n, (digest, array) in enumerate(rows.items()):
        packs[n % 3].add({digest: array} | dict(list(rows.items())[:n]))  # those of the others as well
    read = Cache(tmp_path).pack("key", (2, 3), np.uint8)
    assert {digest: read.array()[row].tolist() for digest, row in read.rows.items()} == {
        digest: array.tolist() for digest, array in rows.items()
    }


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    file = write_samples(tmp_path, 30)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RequestError, match=r"cache .*/cache cannot be written: .* with `cache`"):
        load(file, modalities=MODALITIES)


@contextmanager
def standard_error(descriptor):
    """Give this process another standard error for a while."""
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def test_a_terminal_sees_how_the_decoding_goes_on_and_a_file_nothing(tmp_path, monkeypatch):
    file = write_samples(tmp_path, 30)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    chunks = []

    def listen():
        with suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 4096):
                chunks.append(chunk)

    listener = threading.Thread(target=listen)
    listener.start()
    with standard_error(theirs):
        load(file, modalities=MODALITIES)
    os.close(theirs)
    listener.join()
    os.close(ours)
    seen = b"".join(chunks).decode()
    assert "decoding photo" in seen
    assert "27/27" in seen
    shutil.rmtree(tmp_path / "cache")
    with (tmp_path / "log").open("w") as log, standard_error(log.fileno()):
        load(file, modalities=MODALITIES)
    assert (tmp_path / "log").read_text() == ""


def test_bad_rows_are_named_and_may_be_skipped(tmp_path):
    cells = {(5, "photo"): "nowhere.png", (6, "label"): "", (8, "sound"): "8.wav"}
    file = write_samples(tmp_path, 60, cells=cells)
    (tmp_path / "8.wav").write_bytes(b"no sound")
    with pytest.raises(RequestError) as caught:
        load(file, modalities=MODALITIES)
    for part in (
        "row 6, column photo",
        "nowhere.png does not exist",
        "row 7, column label",
        "row 9, column sound",
    ):
        assert part in str(caught.value)
    dataset = load(file, modalities=MODALITIES, on_bad_row="skip")
    assert sum(map(len, dataset.splits.values())) == 57
    [note] = dataset.notes
    assert "3 of 60 rows are left out" in note


def test_a_row_with_too_many_cells_and_one_of_no_split_may_be_skipped_too(tmp_path):
    lines = [f"word {n},{'ab'[n % 2]},train" for n in range(60)]
    lines[3] += ",more"
    lines[4] = lines[4].replace("train", "trian")
    lines[5:8] = ["word 5,c,test", "word 6,a,test", "word 7,b,test"]
    (tmp_path / "data.csv").write_text("\n".join(["words,label,split", *lines]))
    [note] = load(tmp_path / "data.csv", split="split", on_bad_row="skip").notes
    assert "3 of 60 rows are left out" in note
    assert "row 4, 4 cells, and the header has 3" in note
    assert "row 5, column split: 'trian' is no split" in note
    assert "row 6, the training split has no row of the class 'c'" in note


# Labels


@pytest.mark.parametrize("cells", [["a|b", "b", "", "a"], ['["a", "b"]', '["b"]', "[]", '["a"]']])
def test_several_classes_of_a_sample_are_a_multilabel_task(cells, tmp_path):
    file = write_table(tmp_path, [{"words": f"word {n}", "label": cells[n % 4]} for n in range(60)])
    dataset = load(file)
    assert dataset.task == nas.Task("multilabel", ("a", "b"))
    labels = whole(dataset.splits["train"]).labels
    assert labels.dtype == torch.float32
    assert {tuple(row) for row in labels.tolist()} == {(1, 1), (0, 1), (0, 0), (1, 0)}


def test_several_columns_of_flags_are_a_multilabel_task(tmp_path):
    rows = [{"words": f"word {n}", "wet": n % 2, "cold": ("yes", "no", "No")[n % 3]} for n in range(60)]
    file = write_table(tmp_path, rows)
    cache = str(tmp_path / "cache")
    dataset = nas.load_dataset("manifest", str(file), label=["wet", "cold"], cache=cache)
    assert dataset.task == nas.Task("multilabel", ("wet", "cold"))
    assert whole(dataset.splits["test"]).labels.mean(0).tolist() == pytest.approx([0.5, 1 / 3], abs=0.15)


def test_a_label_that_is_a_number_is_a_regression(tmp_path):
    rows = [{"words": f"word {n}", "label": n + 0.5} for n in range(100)]
    dataset = load(write_table(tmp_path, rows))
    assert (dataset.task.kind, dataset.task.classes) == ("regression", ("label",))
    parts = [whole(split).labels for split in dataset.splits.values()]
    assert all(part.dtype == torch.float32 and part.shape[1:] == (1,) for part in parts)
    for part in parts:  # stratified by tenths
        assert part.mean().item() == pytest.approx(50, abs=4)
    with pytest.raises(RequestError, match="the validation split is empty"):  # each class has one sample
        load(tmp_path / "data.csv", task="classification")


def test_a_few_whole_numbers_are_classes_and_many_are_amounts(tmp_path):
    few = load(write_table(tmp_path, [{"words": "w", "label": n % 10} for n in range(99)], "few.csv"))
    assert few.task == nas.Task("classification", tuple("0123456789"))
    many = load(write_table(tmp_path, [{"words": "w", "label": n} for n in range(200)], "many.csv"))
    assert many.task.kind == "regression"


@pytest.mark.parametrize("mistake", ["inf", "1e39", "12,5", "unknown"])
def test_a_mistake_among_labels_that_are_numbers_is_a_bad_row_and_no_class(tmp_path, mistake):
    rows = [{"words": f"word {n % 4}", "label": mistake if n == 7 else n + 0.5} for n in range(60)]
    with pytest.raises(RequestError, match=f"row 8, column label: '{mistake}' is not a number"):
        load(write_table(tmp_path, rows))


# Untidy tables


def test_numbers_are_read_whatever_people_write_where_they_have_none(tmp_path):
    ages = [str(n) for n in range(56)] + ["NA", "n/a", "?", "null"]
    rows = [{"age": age, "words": f"word {n}", "label": "ab"[n % 2]} for n, age in enumerate(ages)]
    dataset = load(write_table(tmp_path, rows))
    assert dataset.modalities["tabular"].shape == (2,)  # the age, and whether there is none
    present = torch.cat([whole(split).present for split in dataset.splits.values()])
    assert (~present).sum(0).tolist() == [0, 4]


def test_a_mistake_among_numbers_is_a_bad_row_and_no_category(tmp_path):
    rows = [{"age": n if n != 20 else "2o", "label": "ab"[n % 2]} for n in range(60)]
    with pytest.raises(RequestError, match="row 21, column age: '2o' is not a number"):
        load(write_table(tmp_path, rows))


def test_rare_categories_share_a_column(tmp_path):
    rows = [
        {"city": f"city {min(n % 9, n)}" if n > 9 else f"hamlet {n}", "label": "ab"[n % 2]} for n in range(90)
    ]
    facts = {"facts": {"tabular": "city", "categories": 5}}
    dataset = load(write_table(tmp_path, rows), modalities=facts)
    assert dataset.modalities["facts"].shape == (6,)
    assert (whole(dataset.splits["train"]).inputs["facts"].sum(1) == 1).all()


@pytest.mark.parametrize("first", [[], ["sep=;"]])
def test_a_file_with_semicolons_and_one_of_a_spreadsheet_are_read(tmp_path, first):
    lines = "\r\n".join([*first, "words;label", *(f"word {n}, and more;{'ab'[n % 2]}" for n in range(40))])
    (tmp_path / "data.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert sum(map(len, load(tmp_path / "data.csv").splits.values())) == 40


def test_numbers_with_a_decimal_comma_are_numbers_in_a_table_with_semicolons_alone(tmp_path):
    lines = [f"{n},25;{n % 7},5;{'ab'[n % 2]}" for n in range(30)]
    (tmp_path / "data.csv").write_text("\n".join(["size;price;label", *lines]))
    dataset = load(tmp_path / "data.csv", label="price", modalities={"s": {"tabular": "size"}})
    assert dataset.task.kind == "regression"
    split = dataset.splits["train"]
    labels = split.batch(torch.arange(len(split))).labels[:, 0]
    assert labels.tolist() == [sample % 7 + 0.5 for sample in split.samples]
    assert dataset.modalities["s"].shape == (1,)
    (tmp_path / "data.csv").write_text("\n".join(["size,label", *(f'"1,{n}",{n % 2}' for n in range(30))]))
    assert load(tmp_path / "data.csv").modalities["size"].kind == "text"


def test_paths_of_windows_are_found(tmp_path):
    (tmp_path / "pictures").mkdir()
    write_picture(tmp_path / "pictures" / "a.png", "RGB", (8, 9), 1)
    rows = [row | {"photo": "pictures\\a.png"} for row in GOOD]
    dataset = load(write_table(tmp_path, rows), modalities={"p": {"image": "photo", "size": 8}})
    assert dataset.modalities["p"].shape == (3, 8, 8)


def test_a_column_with_the_name_of_a_method_of_torch_is_a_modality_of_another(tmp_path):
    rows = [{"type": f"the {n}th", "my.words": f"{n} words", "label": "ab"[n % 2]} for n in range(40)]
    dataset = load(write_table(tmp_path, rows))
    assert list(dataset.modalities) == ["type_", "my_words"]
    with pytest.raises(RequestError, match=r"modalities.type: 'type' cannot name a modality"):
        load(tmp_path / "data.csv", modalities={"type": {"text": "type"}})


def test_pictures_may_stand_in_a_parquet_file_itself(samples, tmp_path):
    pictures = [(samples.parent / f"{n}.png").read_bytes() for n in range(1, 7)] * 6
    cells = [{"bytes": picture, "path": None} if n % 2 else None for n, picture in enumerate(pictures)]
    plain = [cell and cell["bytes"] for cell in cells]
    words = [f"picture {n}" for n in range(36)]
    table = {"photo": cells, "plain": plain, "words": words, "label": ["ab"[n % 2] for n in range(36)]}
    parquet.write_table(pyarrow.table(table), tmp_path / "data.parquet")
    dataset = load(tmp_path / "data.parquet")
    assert [spec.kind for spec in dataset.modalities.values()] == ["image", "image", "text"]
    batch = whole(dataset.splits["train"])
    there = batch.present[:, 0]
    assert there.float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(batch.inputs["photo"][there], batch.inputs["plain"][there])
    assert (batch.inputs["photo"][~there] == 0).all()


def test_a_silent_sound_is_silent_and_a_long_one_is_cut(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    assert (log_mel((tmp_path / "silent.wav").read_bytes(), 8000, 0.5, 8, 10) == -80).all()
    write_sound(tmp_path / "long.wav", 8000, 30, 1000, 1)
    write_sound(tmp_path / "short.wav", 8000, 0.6, 1000, 1)
    long, short = (
        log_mel((tmp_path / f"{name}.wav").read_bytes(), 8000, 0.5, 8, 10) for name in ("long", "short")
    )
    np.testing.assert_allclose(long, short, atol=0.1)


def test_a_sound_may_stay_a_waveform(tmp_path):
    write_sound(tmp_path / "x.wav", 16000, 1.0, 440, 2)
    samples = waveform((tmp_path / "x.wav").read_bytes(), 8000, 1.5)
    assert (samples.shape, samples.dtype) == ((1, 12000), np.int16)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    np.testing.assert_allclose(samples[0, 100:7900] / 32767, wanted[100:7900], atol=0.01)
    assert not samples[0, 8100:].any()
    rows = [row | {"file": "x.wav"} for row in GOOD]
    sound = {"audio": "file", "form": "waveform", "rate": 4000, "seconds": 0.5}
    dataset = load(write_table(tmp_path, [row | {"split": ""} for row in rows]), modalities={"f": sound})
    assert dataset.modalities["f"].shape == (1, 2000)


def test_a_split_is_moved_to_a_device_as_it_is_read(samples):
    split = load(samples, modalities=MODALITIES).splits["train"]
    moved = split.to("cpu")
    some = torch.tensor([5, 0, 7])
    for name in MODALITIES:
        assert torch.equal(split.batch(some).inputs[name], moved.batch(some).inputs[name])
    assert torch.equal(split.batch(some).masks["words"], moved.batch(some).masks["words"])
    assert torch.equal(split.batch(some).present, moved.batch(some).present)


# Malformed manifests


GOOD = [{"words": f"word {n % 4}", "age": str(n), "label": "ab"[n % 2], "split": "train"} for n in range(30)]


def table(**cells):
    return [row | (dict(cells.items()) if n == 4 else {}) for n, row in enumerate(GOOD)]


TEXT = {"modalities": {"w": {"text": "words"}}}
BAD = {
    "no file": (None, {}, "does not exist"),
    "no table": (b"\x89PNG\r\n", {}, "is not UTF-8 text"),
    "empty": (b"", {}, "is empty; its first line must name the columns"),
    "no rows": (b"words,label\n", {}, "has a header and no rows"),
    "a cell too many": (b"words,label\na,b,c\n", {}, "row 1, 3 cells, and the header has 2"),
    "an open quote": (b'words,label\n"a,b\n', {}, "is not a CSV file"),
    "a name twice": (b"label,label\na,b\n", {}, "has 2 columns of the name 'label'"),
    "no name": (
        b"label,\na,b\n",
        {},
        "column 2 has no name; give it one, or take it out (pandas: index=False)",
    ),
    "another delimiter": (
        b"words|label\na|b\n",
        {},
        "Allowed: words|label. Columns are parted by commas, semicolons or tabs.",
    ),
    "a label that is a number": (GOOD, {"label": 3}, "data.label: 3 is not allowed; give the name of a"),
    "one label column twice": (GOOD, {"label": ["label", "label"]}, "or a list of different ones"),
    "several split columns": (GOOD, {"split": ["split"]}, "data.split: ['split'] is not allowed"),
    "a share in words": (GOOD, {"validation": "few"}, "data.validation: 'few' is not allowed; give a share"),
    "a seed in words": (GOOD, {"seed": "lucky"}, "data.seed: 'lucky' is not allowed; give a whole number"),
    "no separator": (GOOD, {"separator": ""}, "data.separator: '' is not allowed"),
    "a cache that is a number": (GOOD, {"cache": 5}, "data.cache: 5 is not allowed; give the path of a"),
    "a column twice": (GOOD, {"modalities": {"w": {"tabular": ["age", "age"]}}}, "'age' is given twice"),
    "a category of no column": (
        GOOD,
        {"modalities": {"w": {"tabular": ["age"], "categorical": ["agee"]}}},
        "modalities.w.categorical: 'agee' is not one of its columns; did you mean 'age'?",
    ),
    "a name with a point": (GOOD, {"modalities": {"a.b": {"text": "words"}}}, "such as 'a_b' can"),
    "nothing to train on": (
        [row | {"split": "test"} for row in GOOD],
        {"split": "split"} | TEXT,
        "column split names no row for training",
    ),
    "a class for every row": (
        [row | {"label": f"class {n}"} for n, row in enumerate(GOOD)],
        TEXT,
        "most classes have a single row, which is for training",
    ),
    "a single group": (
        [row | {"age": "7"} for row in GOOD],
        {"group": "age"} | TEXT,
        "rows of one age stay together; give more of them",
    ),
    "no number among classes that are numbers": (
        [row | {"label": "?" if n == 4 else str(n % 3)} for n, row in enumerate(GOOD)],
        TEXT,
        "row 5, column label: the label is empty",
    ),
    "NaN among classes": (table(label="NaN"), TEXT, "row 5, column label: the label is empty"),
    "no label column": (b"words,labl\na,b\n", {}, "has no label column 'label'; did you mean 'labl'?"),
    "no split column": (GOOD, {"split": "spilt"}, "has no split column 'spilt'; did you mean 'split'?"),
    "no group column": (GOOD, {"group": "patient"}, "has no group column 'patient'"),
    "an unknown split": (
        table(split="tarin"),
        {"split": "split"},
        "row 5, column split: 'tarin' is no split",
    ),
    "an empty split cell": (
        table(split=""),
        {"split": "split"},
        "row 5, column split: '' is no split; allowed: train, validation, test",
    ),
    "an empty label": (table(label=""), TEXT, "row 5, column label: the label is empty"),
    "one class": ([row | {"label": "a"} for row in GOOD], TEXT, "has 1 class in the training split"),
    "nothing declared": (GOOD, {"modalities": {}}, "modalities: {} declares nothing"),
    "no kind": (GOOD, {"modalities": {"w": {"txt": "words"}}}, "does not name one kind"),
    "two kinds": (GOOD, {"modalities": {"w": {"text": "words", "image": "age"}}}, "does not name one kind"),
    "a kind alone": (GOOD, {"modalities": {"w": "text"}}, "modalities.w: 'text' does not name one kind"),
    "no such column": (
        GOOD,
        {"modalities": {"w": {"text": "word"}}},
        "modalities.w.text: 'word' is not a column",
    ),
    "two texts": (GOOD, {"modalities": {"w": {"text": ["words", "age"]}}}, "takes one column, not 2"),
    "no such option": (
        GOOD,
        {"modalities": {"w": {"text": "words", "sise": 3}}},
        "'sise' is not an option of text",
    ),
    "tokens": (GOOD, {"modalities": {"w": {"text": "words", "tokens": "words"}}}, "'words' is not allowed"),
    "no tokenizer": (
        GOOD,
        {"modalities": {"w": {"text": "words", "tokenizer": "bert"}}},
        "give a tokenizer.json",
    ),
    "a tokenizer that is none": (
        GOOD,
        {"modalities": {"w": {"text": "words", "tokenizer": "data.csv"}}},
        "data.csv is no tokenizer.json (expected value",
    ),
    "two tokenizers": (
        GOOD,
        {"modalities": {"w": {"text": "words", "tokenizer": "bert", "tokens": "bpe"}}},
        "modalities.w.tokens: is given beside 'tokenizer'",
    ),
    "channels": (GOOD, {"modalities": {"w": {"image": "words", "channels": 4}}}, "4 is not allowed"),
    "size": (GOOD, {"modalities": {"w": {"image": "words", "size": 0}}}, "0 is not allowed"),
    "no picture": (GOOD, {"modalities": {"w": {"image": "words"}}}, "row 1, column words"),
    "no number": (GOOD, {"modalities": {"w": {"vector": "words"}}}, "'word' is not a number"),
    "a list too long": (
        table(age="[1, 2]"),
        {"modalities": {"w": {"vector": "age"}}},
        "2 numbers, where others have 1",
    ),
    "all missing": (table(words=""), TEXT, "row 5, every modality is missing"),
    "shares": (GOOD, {"validation": 0.7, "test": 0.4} | TEXT, "must leave some rows for training"),
    "on_bad_row": (GOOD, {"on_bad_row": "ignore"} | TEXT, "must be 'error' or 'skip', not 'ignore'"),
    "an unknown option": (GOOD, {"lable": "x"}, "lable"),
    "the label as a modality": (
        GOOD,
        {"modalities": {"w": {"text": "label"}}},
        "'label' is the label, which",
    ),
    "a huge picture": (
        GOOD,
        {"modalities": {"w": {"image": "words", "size": 9999}}},
        "9999 is not allowed; give a",
    ),
    "a size in words": (
        GOOD,
        {"modalities": {"w": {"image": "words", "size": "big"}}},
        "'big' is not allowed; give a",
    ),
    "an unknown task": (
        GOOD,
        {"task": "ranking"} | TEXT,
        "task: 'ranking' is not allowed; give classification",
    ),
    "words to regress": (GOOD, {"task": "regression"} | TEXT, "row 1, column label: 'a' is not a number"),
    "two label columns of words": (
        GOOD,
        {"label": ["label", "words"], "task": "classification"},
        "classification has one label column, not 2",
    ),
    "a flag that is none": (
        table(age="maybe"),
        {"label": ["age", "split"], "task": "multilabel"} | TEXT,
        "is neither 1 nor 0",
    ),
    "a modality that is never there": (
        [row | {"age": ""} for row in GOOD],
        {"modalities": {"w": {"text": "words"}, "age": {"vector": "age"}}},
        "the modality age is missing in every row for training",
    ),
    "an empty split": (GOOD, {"validation": 0.001} | TEXT, "the validation split is empty"),
    "nothing usable": (
        [row | {"label": ""} for row in GOOD],
        {"on_bad_row": "skip"} | TEXT,
        "no row that can be used",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_manifest_is_one_clear_line_of_the_search_command(case, tmp_path, capsys):
    from nas.search.__main__ import main

    content, options, message = BAD[case]
    file = tmp_path / "data.csv"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        write_table(tmp_path, content)
    data = {"manifest": "data.csv", "label": "label", "cache": str(tmp_path / "cache")} | options
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(yaml.safe_dump({"data": data, "space": {"dim": 8}}, sort_keys=False))
    assert main([str(experiment), "--run-dir", str(tmp_path / "run")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert line.startswith("error: ")
    assert not (tmp_path / "run").exists()


def encoded(suffix, **save):
    """A good picture or sound of some format, as bytes."""
    stream = io.BytesIO()
    if suffix in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
            stream, suffix
        )
    else:
        samples = save.pop("samples", np.sin(np.arange(4000) / 9))
        soundfile.write(stream, samples, 8000, format=suffix.upper(), **save)
    return stream.getvalue()


def half(suffix):
    return encoded(suffix)[: len(encoded(suffix)) // 2]


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


BROKEN = {
    "nothing.png": (None, "nothing.png does not exist"),
    "nothing.ogg": (None, "nothing.ogg does not exist"),
    "https://example.org/x.png": (None, "does not exist; nothing is downloaded, give a file"),
    "folder.png": ("folder", "folder.png is a folder, not a file"),
    "folder.ogg": ("folder", "folder.ogg is a folder, not a file"),
    "pipe.png": ("pipe", "pipe.png cannot be read (it is a device or a pipe)"),
    "loop.png": ("loop", "loop.png cannot be read (Too many levels of symbolic links"),
    "below/a/file.png": (None, "does not exist"),
    "empty.png": (b"", "(no picture in a known format)"),
    "text.png": (b"404 not found", "(no picture in a known format)"),
    "sound.png": (encoded("wav"), "(no picture in a known format)"),
    "half.png": (half("png"), "(image file is truncated"),
    "half.jpg": (half("jpeg"), "(image file is truncated"),
    "half.gif": (half("gif"), "(image file is truncated"),
    "half.bmp": (half("bmp"), "(image file is truncated"),
    "half.webp": (half("webp"), "half.webp cannot be read"),
    "half.tiff": (half("tiff"), "half.tiff cannot be read"),
    "bits.png": (flipped(encoded("png"), 60), "bits.png cannot be read"),
    "header.png": (encoded("png")[:20], "header.png cannot be read"),
    "huge.png": (
        encoded("png")[:16] + (100_000).to_bytes(4, "big") * 2 + encoded("png")[24:],
        "huge.png cannot be read",
    ),
    "empty.ogg": (b"", "(Format not recognised.)"),
    "text.wav": (b"404 not found", "(Format not recognised.)"),
    "picture.wav": (encoded("png"), "(Format not recognised.)"),
    "header.wav": (encoded("wav")[:44], "(it holds no samples)"),
    "few.wav": (encoded("wav")[:20], "few.wav cannot be read"),
    "half.ogg": (encoded("ogg")[:60], "half.ogg cannot be read"),
    "header.flac": (encoded("flac")[:30], "header.flac cannot be read"),
    "noise.mp3": (bytes(range(256)) * 8, "noise.mp3 cannot be read"),
    "loud.wav": (
        encoded("wav", samples=np.full(500, 1e30), subtype="FLOAT"),
        "(it holds samples of 1e+30, where 1 is loud)",
    ),
    "nan.wav": (
        encoded("wav", samples=np.full(500, np.nan), subtype="FLOAT"),
        "(it holds samples that are not",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_named_with_its_row_and_the_reason(name, tmp_path, capfd):
    content, message = BROKEN[name]
    file = tmp_path / name
    if content == "folder":
        file.mkdir()
    elif content == "pipe":
        os.mkfifo(file)
    elif content == "loop":
        file.symlink_to(file)
    elif content is not None:
        file.write_bytes(content)
    (tmp_path / "below").mkdir()
    rows = [row | {"file": name if n == 6 else ""} for n, row in enumerate(GOOD)]
    kind = "image" if file.suffix in IMAGES else "audio"
    with pytest.raises(RequestError) as caught:
        load(write_table(tmp_path, rows), modalities={"w": {"text": "words"}, "f": {kind: "file"}})
    assert "row 7, column file: " in str(caught.value)
    assert message in str(caught.value)
    assert "BytesIO" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", "words,label\nyes,a\nno", "row 2, 1 cells, and the header has 2"),
        ("data.csv", "photo,label\n" + "x.png,a\ny.png,b\n" * 9, "x.png does not exist; row 2"),
        ("data.parquet", "PAR1", "is not a Parquet file"),
    ],
)
def test_the_real_command_ends_with_one_line_and_leaves_nothing(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    (tmp_path / "mine.yaml").write_text(f"data: {{manifest: {name}, label: label}}\n")
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "nas.search", "mine.yaml"],
        cwd=tmp_path,
        env=ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert message in line
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "cache"] == before


def test_the_line_of_the_option_is_named_in_either_form(tmp_path, capsys):
    from nas.search.__main__ import main

    write_table(tmp_path, GOOD)
    declared = "label: label\n  modalities:\n    w: {text: wrods}\n"
    short = f"data:\n  manifest: data.csv\n  {declared}"
    long = f"data:\n  manifest:\n   source: data.csv\n   {declared.replace('  ', '   ')}"
    for text, place in ((short, "5: data.modalities.w.text"), (long, "6: data.manifest.modalities.w.text")):
        (tmp_path / "mine.yaml").write_text(text)
        assert main([str(tmp_path / "mine.yaml")]) == 2
        assert f"mine.yaml:{place}: 'wrods' is not a column" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"")
    with pytest.raises(RequestError, match=r"neither a \.csv nor a \.parquet file"):
        load(tmp_path / "data.xlsx")
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(RequestError, match="is not a Parquet file"):
        load(tmp_path / "data.parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RequestError, match=r"folder\.csv is a folder; give a \.csv or a \.parquet file"):
        load(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (lambda n: {"a": n, "b": "x"}, "struct<a: int64, b: string>"),
        (lambda n: [{"a": n}], "list<element: struct<a: int64>>"),
    ],
)
def test_a_nested_column_is_refused_where_it_is_used_and_passed_over_where_it_is_not(cell, kind, tmp_path):
    rows = {name: [row[name] for row in GOOD] for name in ("words", "label")}
    parquet.write_table(
        pyarrow.table(rows | {"meta": [cell(n) for n in range(len(GOOD))]}), tmp_path / "data.parquet"
    )
    with pytest.raises(RequestError, match=f"column 'meta' holds {re.escape(kind)}, of which nothing can be"):
        load(tmp_path / "data.parquet")
    assert list(load(tmp_path / "data.parquet", **TEXT).modalities) == ["w"]


def test_columns_of_one_name_in_a_parquet_file_are_refused(tmp_path):
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a", "b"])] * 2, names=["label", "label"])
    parquet.write_table(twice, tmp_path / "data.parquet")
    with pytest.raises(RequestError, match="has 2 columns of the name 'label'"):
        load(tmp_path / "data.parquet")


def test_a_search_on_a_manifest_runs_to_a_front(samples, tmp_path):
    experiment = tmp_path / "mine.yaml"
    data = {
        "manifest": str(samples),
        "label": "label",
        "cache": str(tmp_path / "cache"),
        "modalities": MODALITIES,
    }
    space = {"dim": 8, "connector": "none", "fusion": {"choice": ["concat", "late"]}, "head": "linear"}
    run = {"search": {"trials": 2}, "training": {"epochs": 1, "batch_size": 16}, "execution": {"workers": 1}}
    experiment.write_text(yaml.safe_dump({"data": data, "space": space} | run, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", "nas.search", str(experiment), "--run-dir", str(tmp_path / "run")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "pareto.json").read_text())
