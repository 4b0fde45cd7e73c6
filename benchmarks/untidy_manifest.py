"""A manifest as untidy as real ones, of files that are really written, and how long it takes to load.

    python benchmarks/untidy_manifest.py FOLDER [--rows 5000] [--broken 30] [--measure]

Each row is a drawing, a sentence in one of eight languages, a recording of the word in another and a few
facts; the class is the thing that is drawn. Drawings are RGBA PNGs of different sizes for the most part,
besides palettes, greyscale JPEGs and 16-bit PNGs; recordings are OGG files at different rates, besides WAV,
FLAC and MP3, some in stereo. A part of all cells is empty. `--broken N` damages the files of N rows.

`FOLDER/drawings.yaml` searches over it: `nas search FOLDER/drawings.yaml`.
The voices are those of the program espeak-ng (Debian: apt-get install espeak-ng).

With `--measure` one JSON line says how long the first start and a second one take, each in a process of its
own, beside a loop over the rows with Pillow and soundfile, which is what a hand-written dataset repeats at
every start. The cache is `FOLDER/cache`.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
import unicodedata
import wave
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter
from scipy.signal import resample_poly, spectrogram

from nas.datasets._blobs import quiet

THINGS = ("circle", "square", "triangle", "star", "cross", "heart", "arrow", "moon")
WORDS = {
    "en": "circle square triangle star cross heart arrow moon",
    "de": "Kreis Quadrat Dreieck Stern Kreuz Herz Pfeil Mond",
    "es": "círculo cuadrado triángulo estrella cruz corazón flecha luna",
    "it": "cerchio quadrato triangolo stella croce cuore freccia luna",
    "ru": "круг квадрат треугольник звезда крест сердце стрела луна",
    "el": "κύκλος τετράγωνο τρίγωνο αστέρι σταυρός καρδιά βέλος φεγγάρι",
    "hi": "वृत्त वर्ग त्रिभुज तारा क्रॉस दिल तीर चाँद",
    "cmn": "圆形 正方形 三角形 星星 十字 心形 箭头 月亮",
}
SENTENCES = {
    "en": (
        "What you see here: {}.",
        "I drew this for my sister: {}!",
        "{}, in colour",
        "No idea what this is.",
    ),
    "de": (
        "Das hier heißt: {}.",
        "Für meine Schwester gemalt: {}!",
        "{}, in Farbe",
        "Keine Ahnung, was das ist.",
    ),
    "es": ("Lo que ves aquí: {}.", "Lo dibujé para mi hermana: {}.", "{}, en color", "No sé qué es esto."),
    "it": ("Quello che vedi: {}.", "L'ho fatto per mia sorella: {}!", "{}, a colori", "Non so cosa sia."),
    "ru": ("На рисунке: {}.", "Рисовал для сестры: {}!", "{}, в цвете", "Не знаю, что это."),
    "el": ("Αυτό που βλέπεις: {}.", "Για την αδελφή μου: {}!", "{}, με χρώμα", "Δεν ξέρω τι είναι."),
    "hi": ("यहाँ है: {}.", "मेरी बहन के लिए: {}!", "{}, रंगीन", "पता नहीं यह क्या है."),
    "cmn": ("你看到的是：{}。", "给我妹妹画的：{}！", "{}，彩色的", "不知道这是什么。"),
}
ARTISTS = 60
VOICES = ("m1", "m3", "m5", "f1", "f2", "f4")
SPEEDS = (140, 180)  # words per minute
RATES = (8000, 11025, 16000, 22050, 44100, 48000)
PAPERS = ("plain", "recycled", "squared", "photo")
SPOKEN_RATE = 22_050  # hertz, fixed by espeak-ng
EMPTY = 0.06  # share of the cells


EXPERIMENT = """\
data:
  manifest: data.csv
  label: thing
  group: artist
  on_bad_row: skip
  cache: cache
  modalities:
    photo: {image: photo}
    caption: {text: caption, tokens: bpe, vocabulary: 600}
    speech: {audio: speech}
    facts: {tabular: [size cm, paper]}
space:
  dim: {int: [16, 32], log: true}
  encoders:
    photo: {cnn: {width: 8}}
    caption: {attention: {embedding: 32}}
    speech: {spectrogram_cnn: {width: 8}}
    facts: {mlp: {width: 16}}
  connector: none
  fusion: {choice: [concat, gate, late]}
  head: linear
search: {trials: 5, sampler: random}
training: {epochs: 4, batch_size: 64, learning_rate: 0.01}
"""


# Drawings


def polygon(points: int, radii: tuple[float, ...], turn: float) -> list[tuple[float, float]]:
    """Corners around the origin whose distances take turns."""
    angles = turn + 2 * np.pi * np.arange(points) / points
    return [
        (radii[n % len(radii)] * np.sin(a), -radii[n % len(radii)] * np.cos(a)) for n, a in enumerate(angles)
    ]


def outline(thing: str) -> list[tuple[float, float]]:
    """The corners of a thing, within -1 and 1."""
    turns = np.linspace(0, 2 * np.pi, 40)
    match thing:
        case "circle":
            return polygon(40, (0.9,), 0)
        case "square":
            return polygon(4, (1.1,), np.pi / 4)
        case "triangle":
            return polygon(3, (1.0,), 0)
        case "star":
            return polygon(10, (1.0, 0.4), 0)
        case "cross":
            arms = [(1, 3), (1, 1), (3, 1)]
            quarter = [(x / 3, -y / 3) for x, y in arms]
            corners = []
            for _ in range(4):
                corners += quarter
                quarter = [(-y, x) for x, y in quarter]
            return corners
        case "heart":
            y = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
            return list(zip(np.sin(turns) ** 3, -y / 16, strict=True))
        case "arrow":
            return [(-1, -0.2), (0.2, -0.2), (0.2, -0.7), (1, 0), (0.2, 0.7), (0.2, 0.2), (-1, 0.2)]
        case _:
            inner = turns[::-1]
            outer = [(-np.cos(t), np.sin(t)) for t in np.linspace(-np.pi / 2, np.pi / 2, 20)]
            return [
                *outer,
                *((-0.5 * np.cos(t), np.sin(t)) for t in np.linspace(np.pi / 2, -np.pi / 2, len(inner))),
            ]


def draw(thing: str, hue: int, rng: np.random.Generator) -> Image.Image:
    """A thing on a transparent ground, in any size, turned a little, now and then blurred or half hidden."""
    width, height = (int(rng.integers(24, 160)) for _ in range(2))
    scale = min(width, height) * rng.uniform(0.25, 0.45)
    turn = rng.normal(0, 0.25)
    x, y = width / 2 + rng.normal(0, 2), height / 2 + rng.normal(0, 2)
    corners = [
        (x + scale * (a * np.cos(turn) - b * np.sin(turn)), y + scale * (a * np.sin(turn) + b * np.cos(turn)))
        for a, b in outline(thing)
    ]
    colour = tuple(np.clip(np.array([hue, 255 - hue, 120]) + rng.integers(-40, 40, 3), 0, 255).tolist())
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.polygon(corners, fill=(*colour, int(rng.integers(150, 255))), outline=(30, 30, 30, 255))
    for _ in range(int(rng.integers(0, 6))):
        ends = [tuple(rng.uniform(0, size) for size in (width, height)) for _ in range(2)]
        pen.line(ends, fill=(80, 80, 80, 160))
    if rng.random() < 0.3:
        pen.rectangle((0, 0, width * rng.uniform(0.3, 0.8), height), fill=(200, 190, 170, 255))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return image


def save_picture(image: Image.Image, stem: Path, rng: np.random.Generator) -> str:
    """Write a drawing in one of several formats; the name of its file."""
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    match int(rng.integers(0, 20)):
        case 0:
            on_white.convert("L").save(file := stem.with_suffix(".jpg"))
        case 1 | 2:
            on_white.save(file := stem.with_suffix(".JPG"), "JPEG", quality=int(rng.integers(30, 95)))
        case 3:
            on_white.convert("P").save(file := stem.with_suffix(".png"))
        case 4:
            grey = np.asarray(on_white.convert("L")).astype(np.uint16) * 257
            Image.fromarray(grey).save(file := stem.with_suffix(".png"))
        case 5:
            image.save(file := stem.with_suffix(".webp"))
        case _:
            image.save(file := stem.with_suffix(".png"))
    return file.name


# Recordings


def speak(spoken: tuple[str, str, str, int]) -> np.ndarray:
    """A word by espeak-ng, as floats at 22,050 Hz."""
    language, voice, word, speed = spoken
    command = ["espeak-ng", "-b", "1", "-v", f"{language}+{voice}", "-s", str(speed), "--stdout", word]
    done = subprocess.run(command, check=True, capture_output=True)
    with wave.open(BytesIO(done.stdout)) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2") / np.float32(32_768)


def record(speech: np.ndarray, stem: Path, rng: np.random.Generator) -> str:
    """Write speech at some rate, with noise and silence around it, in one of several formats."""
    rate = int(rng.choice(RATES))
    common = np.gcd(rate, SPOKEN_RATE)
    signal = resample_poly(speech, rate // common, SPOKEN_RATE // common).astype(np.float32)
    silence = np.zeros(int(rate * rng.uniform(0, 0.4)), np.float32)
    signal = np.concatenate([silence, signal * rng.uniform(0.2, 0.9)])
    signal += rng.normal(0, 10 ** rng.uniform(-3.5, -1), len(signal)).astype(np.float32)
    if rng.random() < 0.2:
        signal = np.stack([signal, signal * rng.uniform(0, 1)], 1)
    kinds = (".ogg", ".wav", ".flac", ".mp3")
    file = stem.with_suffix(kinds[rng.choice(len(kinds), p=(0.85, 0.05, 0.05, 0.05))])
    soundfile.write(file, np.clip(signal, -1, 1), rate)
    return file.name


# Sentences and rows


def sentence(thing: int, rng: np.random.Generator) -> str:
    """A sentence in one of the languages, with slips, spaces and both ways of Unicode to write an accent."""
    language = rng.choice(list(WORDS))
    text = str(rng.choice(SENTENCES[language])).format(WORDS[language].split()[thing])
    if rng.random() < 0.2:
        place = int(rng.integers(len(text)))
        text = text[:place] + text[place + 1 :]
    if rng.random() < 0.1:
        text = unicodedata.normalize("NFD", text)
    return f"  {text} " if rng.random() < 0.1 else text


def voice(artist: int) -> tuple[str, int]:
    """The voice and the speed of an artist."""
    return VOICES[artist % len(VOICES)], SPEEDS[artist % len(SPEEDS)]


def write_row(folder: Path, row: int, seed: int) -> dict[str, str]:
    """Write the files of one row; its cells."""
    rng = np.random.default_rng([seed, row])
    thing, artist = int(rng.integers(len(THINGS))), int(rng.integers(ARTISTS))
    language = str(rng.choice(list(WORDS)))
    speech = SPEECH[language, WORDS[language].split()[thing], *voice(artist)]
    drawing = draw(THINGS[thing], 4 * artist, rng)
    cells = {
        "photo": f"photos/{save_picture(drawing, folder / 'photos' / str(row), rng)}",
        "caption": sentence(thing, rng),
        "speech": f"speech/{record(speech, folder / 'speech' / str(row), rng)}",
        "size cm": str(rng.choice(["NA", "?", f"{rng.gamma(4, 5):.1f}"], p=[0.03, 0.02, 0.95])),
        "paper": str(rng.choice(PAPERS)),
    }
    for name in cells:
        if rng.random() < EMPTY:
            cells[name] = ""
    if not (cells["photo"] or cells["caption"] or cells["speech"]):
        cells["caption"] = "?"
    return cells | {"artist": f"artist {artist}", "thing": THINGS[thing]}


SPEECH: dict[tuple[str, str, str, int], np.ndarray] = {}  # what has been spoken, in every process that writes


def break_files(folder: Path, rows: list[dict[str, str]], count: int, rng: np.random.Generator) -> None:
    """Damage the files of some rows: cut off, empty, of another kind, or gone."""
    for place, index in enumerate(rng.permutation(len(rows))[:count]):
        column = ("photo", "speech")[place // 4 % 2]
        rows[index][column] = rows[index][column] or "lost.png"
        file = folder / rows[index][column]
        match place % 4:
            case 0 if file.exists():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
            case 1:
                file.write_bytes(b"")
            case 2:
                file.write_text("404 not found")
            case _:
                file.unlink(missing_ok=True)


def write(folder: Path, count: int, broken: int, seed: int) -> Path:
    """Write a table and all files that it names; the table."""
    for name in ("photos", "speech"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    spoken = [
        (language, word, variant, speed)
        for language, words in WORDS.items()
        for word in words.split()
        for variant, speed in sorted({voice(artist) for artist in range(ARTISTS)})
    ]
    with ProcessPoolExecutor() as pool:
        speech = dict(zip(spoken, pool.map(speak, spoken, chunksize=16), strict=True))
    with ProcessPoolExecutor(initializer=SPEECH.update, initargs=(speech,)) as pool:
        rows = list(pool.map(write_row, repeat(folder), range(count), repeat(seed), chunksize=64))
    break_files(folder, rows, broken, np.random.default_rng([seed, count]))
    (folder / "drawings.yaml").write_text(EXPERIMENT)
    file = folder / "data.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return file


# Measures

START = """
import sys, nas
dataset = nas.load_dataset("manifest", sys.argv[1], label="thing", group="artist", cache="cache",
    modalities={"photo": {"image": "photo"}, "caption": {"text": "caption"}, "speech": {"audio": "speech"}},
    on_bad_row="skip")
print(*dataset.notes, sum(map(len, dataset.splits.values())))
"""


def start(file: Path) -> float:
    """Seconds until a process of its own has the dataset, its imports included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", START, str(file)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def by_hand(file: Path) -> float:
    """Seconds of a plain loop over the rows that decodes pictures and spectrograms, and keeps them."""
    began = time.perf_counter()
    kept = []
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                if row["photo"]:
                    kept.append(
                        np.asarray(Image.open(file.parent / row["photo"]).convert("RGB").resize((32, 32)))
                    )
                if row["speech"]:
                    samples, rate = soundfile.read(file.parent / row["speech"], always_2d=True)
                    signal = resample_poly(samples.mean(1), 16_000, rate)[:32_000]
                    kept.append(spectrogram(signal, 16_000, nperseg=400, noverlap=0)[2])
            except (OSError, ValueError, soundfile.LibsndfileError):
                continue
    return time.perf_counter() - began


def measure(file: Path, repeats: int) -> dict[str, object]:
    """How long starts take, in seconds."""
    first, second, hand = [], [], []
    for _ in range(repeats):
        shutil.rmtree(file.parent / "cache", ignore_errors=True)
        first.append(start(file))
        second.append(start(file))
        with quiet():  # libsndfile notes what it mends in a damaged MP3
            hand.append(by_hand(file))
    figures = {"first start": first, "second start": second, "a loop by hand": hand}
    spread = {
        name: [round(f(times), 2) for f in (min, statistics.median, max)] for name, times in figures.items()
    }
    ratio = statistics.median(hand) / statistics.median(second)
    return {
        "figure": "seconds to load, least, median and most",
        **spread,
        "by hand / second start": round(ratio, 1),
    }


def main() -> None:
    """Write the manifest, and measure how long it takes to load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--broken", type=int, default=0, help="rows whose files are damaged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="print how long a start takes")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed (Debian: apt-get install espeak-ng)")
    began = time.perf_counter()
    file = write(given.folder, given.rows, given.broken, given.seed)
    print(f"{file}: {given.rows} rows in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if given.measure:
        print(json.dumps(measure(file, given.repeats) | {"rows": given.rows, "broken": given.broken}))


if __name__ == "__main__":
    main()
