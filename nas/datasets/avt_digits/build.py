"""Build ``avt_digits.npz``: one digit written by hand, spoken aloud and spelled out.

Every sample shows the same digit in three damaged modalities, so that no single
one suffices and a network gains by fusing them:

* image: a UCI handwritten digit with Gaussian noise and an occluded square;
* audio: the digit spoken by espeak-ng, in noise, as a log-mel spectrogram;
* text: the number word of another language with characters lost or replaced.

The splits share neither a handwritten image nor a family of voices.

Run ``python -m nas.datasets.avt_digits.build [--output FILE]``. This needs
scikit-learn and the program ``espeak-ng``; reading the built file needs neither.
The result depends on ``SEED`` and on the versions of espeak-ng and NumPy alone.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

SEED = 20240607
USES = 4  # samples made of each handwritten image
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}  # stored as 0, 1, 2

# Number words from zero to nine, by espeak-ng language code.
WORDS = {
    "ca": "zero un dos tres quatre cinc sis set vuit nou",
    "el": "μηδέν ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα",
    "eo": "nul unu du tri kvar kvin ses sep ok naŭ",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "ia": "zero un duo tres quatro cinque sex septe octo nove",
    "io": "zero un du tri quar kin sis sep ok non",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "lfn": "zero un du tre cuatro sinco ses sete oto nove",
    "pt": "zero um dois três quatro cinco seis sete oito nove",
    "ru": "ноль один два три четыре пять шесть семь восемь девять",
}
# The voices speak relatives that sound alike, because a small network learns little
# from unrelated languages; written words come from all of the languages.
SPOKEN = ("ca", "eo", "es", "ia", "io", "it", "lfn", "pt")
LANGUAGES = tuple(WORDS)
LEXICON = {language: words.split() for language, words in WORDS.items()}
CHARACTERS = "".join(sorted(set("".join(WORDS.values())) - {" "}))
TEXT_LENGTH = 12  # characters; the longest word has seven
DROP = 0.3  # probability that a character is lost
REPLACE = 0.05  # probability that another of any language takes its place

IMAGE_NOISE = 2.25  # standard deviation, in the 0..16 grey levels of the source
OCCLUSION = 4  # side of the blank square, in pixels

SAMPLE_RATE = 22_050  # hertz, fixed by espeak-ng
SPEED = (160, 190)  # words per minute, inclusive
PITCH = (40, 60)  # espeak-ng's own 0..99 scale, inclusive
SNR = (-6.0, 6.0)  # decibels, over the time in which the voice speaks
BANDS = 32
FRAMES = 32
HOP = 551  # samples, 25 ms: 32 frames cover 0.8 s
WINDOW = 1024  # samples, 46 ms
BAND_EDGES = (80.0, 8_000.0)  # hertz
# The range that is kept of the log-mel power. The noise lies at -4: almost all of it
# falls below the range, which leaves a sparse image that small networks learn from.
DECIBELS = (-2.0, 16.0)
LEVELS = 64  # coarser than a byte holds, for the file's size


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Return UCI's handwritten digits, (1797, 8, 8) in 0..16, and labels (1797,)."""
    digits = load_digits()
    return digits.images, digits.target


def spread(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random split index for each of ``count`` items, shaped (count,)."""
    edges = np.cumsum(list(SPLITS.values()))[:-1] * count
    return np.searchsorted(np.round(edges), rng.permutation(count), side="right")


def split_images(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the split of each handwritten image, (images,), stratified by label."""
    split = np.empty(len(labels), np.uint8)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        split[members] = spread(len(members), rng)
    return split


def corrupt_image(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an (8, 8) image of 0..16 with noise and a blank square, as 0..255."""
    noisy = image + rng.normal(0.0, IMAGE_NOISE, image.shape)
    row, column = rng.integers(0, np.array(image.shape) - OCCLUSION + 1)
    noisy[row : row + OCCLUSION, column : column + OCCLUSION] = 0.0
    return np.round(np.clip(noisy / 16.0, 0.0, 1.0) * 255.0).astype(np.uint8)


def run_espeak(*arguments: str) -> bytes:
    """Return what ``espeak-ng`` writes to its standard output."""
    command = ["espeak-ng", "-b", "1", *arguments]  # 1: the text is UTF-8
    return subprocess.run(command, check=True, capture_output=True).stdout


def speak(text: str, language: str, voice: str, speed: int = 175, pitch: int = 50) -> np.ndarray:
    """Return speech shaped (samples,) at 22,050 Hz, without the silence around it."""
    options = ["-v", f"{language}+{voice}", "-s", str(speed), "-p", str(pitch)]
    with wave.open(io.BytesIO(run_espeak(*options, "--stdout", text))) as reader:
        if reader.getframerate() != SAMPLE_RATE:
            raise RuntimeError(f"espeak-ng spoke at {reader.getframerate()} Hz")
        # A streamed header overstates the length, and what there is gets read.
        samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
    loudness = np.abs(samples.astype(np.float64))
    audible = np.flatnonzero(loudness > 0.02 * loudness.max(initial=1.0))
    if not len(audible):
        raise RuntimeError(f"espeak-ng was silent for {text!r} with {options}")
    return samples[audible[0] : audible[-1] + 1] / 32_768.0


def list_voices() -> list[str]:
    """Return the sorted names of espeak-ng's voice variants."""
    listing = run_espeak("--voices=variant").decode()
    return sorted(re.findall(r"!v/(.+?)\s*(?:\(.*)?$", listing, re.MULTILINE))


def voice_families(voices: Sequence[str]) -> list[list[int]]:
    """Group the indices of voices that may sound alike.

    Variants such as ``klatt2`` and ``klatt3`` are relatives by name, and a few
    with different names make the very same sound.
    """
    families: list[tuple[set[str | bytes], list[int]]] = []
    for index, voice in enumerate(voices):
        sound = speak(WORDS["es"], "es", voice).tobytes()
        traits: set[str | bytes] = {voice.lower().rstrip("0123456789"), sound}
        members = [index]
        for relative in [family for family in families if family[0] & traits]:
            families.remove(relative)
            traits, members = traits | relative[0], relative[1] + members
        families.append((traits, members))
    return [members for _, members in families]


def split_voices(voices: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Return the split of each voice, (voices,), with families kept together."""
    families = voice_families(voices)
    split = np.empty(len(voices), np.uint8)
    missing = np.array(list(SPLITS.values())) * len(voices)
    shuffled = [families[index] for index in rng.permutation(len(families))]
    # Largest families first: the small ones then even out the shares.
    for family in sorted(shuffled, key=len, reverse=True):
        choice = np.argmax(missing)
        split[family] = choice
        missing[choice] -= len(family)
    return split


def mel_filters() -> np.ndarray:
    """Return triangular filters, (bands, WINDOW // 2 + 1), of unit sum."""
    lowest, highest = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in BAND_EDGES)
    mels = np.linspace(lowest, highest, BANDS + 2)
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    frequencies = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    low, peak, high = (corners[i : i + BANDS, None] for i in range(3))
    rising = (frequencies - low) / (peak - low)
    falling = (high - frequencies) / (high - peak)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: np.ndarray = triangles / triangles.sum(axis=1, keepdims=True)
    return filters


def log_mel(signal: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Return the log-mel power in decibels, (bands, frames), of a 0.8 s signal."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2 / WINDOW
    return 10.0 * np.log10(filters @ power.T + 1e-10)


def quantise(decibels: np.ndarray) -> np.ndarray:
    """Return decibels as bytes 0..255 that take ``LEVELS`` values only."""
    low, high = DECIBELS
    scaled = np.clip((decibels - low) / (high - low), 0.0, 1.0)
    return (np.round(scaled * (LEVELS - 1)) * (255 // (LEVELS - 1))).astype(np.uint8)


def corrupt_speech(speech: np.ndarray, filters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return speech (samples,) within white noise, as bytes (BANDS, FRAMES).

    The noise has the same power throughout, and the voice is as loud as the
    signal-to-noise ratio asks, so that the spectrogram's range suits every sample.
    """
    length = (FRAMES - 1) * HOP + WINDOW
    # The few words that last longer than the window lose their end.
    speech = speech[:length] / np.sqrt(np.mean(speech[:length] ** 2))
    start = rng.integers(0, length - len(speech) + 1)
    signal = rng.normal(size=length)
    signal[start : start + len(speech)] += speech * 10.0 ** (rng.uniform(*SNR) / 20.0)
    return quantise(log_mel(signal, filters))


def corrupt_word(word: str, rng: np.random.Generator) -> str:
    """Return ``word`` with characters dropped or replaced, but never all dropped."""
    kept = ""
    while not kept:
        fates = rng.choice(3, len(word), p=[1.0 - DROP - REPLACE, DROP, REPLACE])
        strangers = rng.choice(list(CHARACTERS), len(word))
        kept = "".join(
            (character, "", stranger)[fate]
            for character, stranger, fate in zip(word, strangers, fates, strict=True)
        )
    return kept


def encode(text: str) -> np.ndarray:
    """Return character ids, (TEXT_LENGTH,), from one upwards with zeros after them."""
    ids = np.zeros(TEXT_LENGTH, np.uint8)
    ids[: len(text)] = [CHARACTERS.index(character) + 1 for character in text]
    return ids


def draw_speakers(split: np.ndarray, voice_split: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a voice for each sample, (samples,), from the voices of its split."""
    speakers = np.empty(len(split), np.uint8)
    for index in range(len(SPLITS)):
        members = split == index
        speakers[members] = rng.choice(np.flatnonzero(voice_split == index), members.sum())
    return speakers


def build_images(images: np.ndarray, source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return damaged images, (samples, 8, 8), of the ``source`` indices (samples,)."""
    return np.stack([corrupt_image(images[index], rng) for index in source])


def build_audio(
    labels: np.ndarray,
    languages: np.ndarray,
    voices: Sequence[str],
    speech_rng: np.random.Generator,
    noise_rng: np.random.Generator,
) -> np.ndarray:
    """Return spectrograms, (samples, BANDS, FRAMES); each argument is one per sample."""
    filters = mel_filters()
    audio = np.empty((len(labels), BANDS, FRAMES), np.uint8)
    for index, (label, choice, voice) in enumerate(zip(labels, languages, voices, strict=True)):
        language = LANGUAGES[choice]
        speed = int(speech_rng.integers(*SPEED, endpoint=True))
        pitch = int(speech_rng.integers(*PITCH, endpoint=True))
        speech = speak(LEXICON[language][label], language, voice, speed, pitch)
        audio[index] = corrupt_speech(speech, filters, noise_rng)
        if (index + 1) % 1000 == 0 or index + 1 == len(labels):
            print(f"spoken {index + 1} of {len(labels)}", flush=True)
    return audio


def build_text(labels: np.ndarray, languages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return damaged number words as character ids, (samples, TEXT_LENGTH)."""
    pairs = zip(labels, languages, strict=True)
    words = (LEXICON[LANGUAGES[choice]][label] for label, choice in pairs)
    return np.stack([encode(corrupt_word(word, rng)) for word in words])


def build() -> dict[str, np.ndarray]:
    """Return the arrays of the data set by name, one row per sample.

    ``image`` (N, 8, 8), ``audio`` (N, 32, 32) as frequency by time, ``text``
    (N, 12), ``label``, ``split`` and the origin of each sample; then the tables
    ``voices``, ``languages`` and ``characters`` that its indices point into.
    """
    names = ("image split", "voice split", "draws", "image", "speech", "noise", "text")
    rng = {name: np.random.default_rng([SEED, index]) for index, name in enumerate(names)}

    images, image_labels = load_images()
    source = np.repeat(np.arange(len(images)), USES)
    label = image_labels[source]
    split = split_images(image_labels, rng["image split"])[source]

    voices = list_voices()
    voice = draw_speakers(split, split_voices(voices, rng["voice split"]), rng["draws"])
    spoken = rng["draws"].choice([LANGUAGES.index(code) for code in SPOKEN], len(source))
    # A step of one to all but one never returns to the spoken language.
    step = rng["draws"].integers(1, len(LANGUAGES), size=len(source))
    written = (spoken + step) % len(LANGUAGES)

    speakers = [voices[index] for index in voice]
    return {
        "image": build_images(images, source, rng["image"]),
        "audio": build_audio(label, spoken, speakers, rng["speech"], rng["noise"]),
        "text": build_text(label, written, rng["text"]),
        "label": label.astype(np.uint8),
        "split": split,
        "source_image": source.astype(np.uint16),
        "voice": voice,
        "spoken_language": spoken.astype(np.uint8),
        "written_language": written.astype(np.uint8),
        "voices": np.array(voices),
        "languages": np.array(LANGUAGES),
        "characters": np.array(list(CHARACTERS)),
    }


def write(arrays: dict[str, np.ndarray], output: Path) -> None:
    """Write the arrays to ``output`` in one step, and ``sha256sum``'s line beside it."""
    partial = output.with_name(output.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    os.replace(partial, output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    output.with_name(output.name + ".sha256").write_text(f"{digest}  {output.name}\n")


def main() -> None:
    """Build the data set and store it."""
    parser = argparse.ArgumentParser(description="Build the avt_digits data set.")
    default = Path(__file__).with_name("avt_digits.npz")
    parser.add_argument("--output", type=Path, default=default, help="file to write (.npz)")
    output = parser.parse_args().output
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed (Debian: apt-get install espeak-ng)")
    print(run_espeak("--version").decode().split("  Data")[0])
    start = time.monotonic()
    write(build(), output)
    size = output.stat().st_size / 1e6
    print(f"{output}: {size:.2f} MB in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
