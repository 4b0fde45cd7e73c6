"""`avt_digits`: the data that ship with the package."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from nas.datasets import avt_digits

FOLDER = Path(avt_digits.__file__).parent


@pytest.fixture(scope="module")
def stored():
    with np.load(avt_digits.FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def dataset():
    return nas.load_dataset("avt_digits")


@pytest.mark.parametrize("provenance", ["source_image", "voice"])
def test_no_image_and_no_voice_of_one_split_is_in_another(stored, provenance):
    seen = [set(stored[provenance][stored["split"] == split]) for split in range(3)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_no_spectrogram_of_one_split_is_in_another(stored):
    digests = [
        {hashlib.sha256(sound.tobytes()).digest() for sound in stored["audio"][stored["split"] == split]}
        for split in range(3)
    ]
    assert not digests[0] & digests[1]
    assert not digests[0] & digests[2]
    assert not digests[1] & digests[2]


def test_every_handwritten_digit_is_used_four_times_with_other_noise(stored):
    images, counts = np.unique(stored["source_image"], return_counts=True)
    assert len(images) == 1797
    assert set(counts) == {4}
    assert len(np.unique(stored["image"].reshape(len(stored["image"]), -1), axis=0)) == len(stored["image"])


def test_the_word_is_never_in_the_language_that_is_spoken_and_never_empty(stored):
    assert (stored["spoken_language"] != stored["written_language"]).all()
    assert (stored["text"] != 0).any(1).all()
    assert stored["text"].max() <= len(stored["characters"])


def test_at_least_eight_languages_are_spoken(stored):
    assert len(np.unique(stored["spoken_language"])) >= 8


def test_every_split_has_all_ten_classes_in_like_shares(stored):
    for split in range(3):
        counts = np.bincount(stored["label"][stored["split"] == split], minlength=10)
        assert counts.min() > 0.8 * counts.mean()


def test_the_file_is_small_and_has_its_licence_and_checksum_beside_it():
    assert avt_digits.FILE.stat().st_size <= 8_000_000
    assert "CC BY 4.0" in (FOLDER / "LICENSE.md").read_text()
    digest = hashlib.sha256(avt_digits.FILE.read_bytes()).hexdigest()
    assert (FOLDER / "avt_digits.npz.sha256").read_text().startswith(digest)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "avt_digits.npz"
    damaged.write_bytes(avt_digits.FILE.read_bytes()[:-1])
    (tmp_path / "avt_digits.npz.sha256").write_text((FOLDER / "avt_digits.npz.sha256").read_text())
    monkeypatch.setattr(avt_digits, "FILE", damaged)
    with pytest.raises(nas.RequestError, match=r"is damaged.*install nas again"):
        nas.load_dataset("avt_digits")


def test_the_modalities_are_as_the_specs_say(dataset):
    assert {name: spec.shape for name, spec in dataset.modalities.items()} == {
        "image": (1, 8, 8),
        "audio": (1, 32, 32),
        "text": (12,),
    }
    for split in dataset.splits.values():
        batch = split.batch(torch.arange(5))
        for name, spec in dataset.modalities.items():
            assert batch.inputs[name].shape == (5, *spec.shape)
        assert torch.equal(batch.masks["text"], batch.inputs["text"] != 0)
        assert batch.inputs["text"].max() < dataset.modalities["text"].vocabulary
    assert sum(len(split) for split in dataset.splits.values()) == 4 * 1797


def test_inputs_are_standardised_by_the_training_split(dataset):
    for name in ("image", "audio"):
        values = dataset.splits["train"].inputs[name]
        assert values.mean().item() == pytest.approx(0, abs=1e-3)
        assert values.std().item() == pytest.approx(1, abs=1e-3)


def test_modalities_are_chosen_in_the_order_of_the_data():
    assert list(nas.load_dataset("avt_digits", modalities=["text", "image"]).modalities) == ["image", "text"]
    with pytest.raises(ValueError, match="'smell' is not in the data; there are image, audio, text"):
        nas.load_dataset("avt_digits", modalities=["smell"])


def test_a_device_can_hold_the_split(dataset):
    split = dataset.splits["test"].to("cpu")
    assert torch.equal(split.batch(torch.tensor([3, 1])).labels, dataset.splits["test"].labels[[3, 1]])
