"""Manifests as untidy as real ones, small enough for tests."""

import csv

import numpy as np
import soundfile
from PIL import Image

WORDS = {"cat": ["кот", "gatto", "猫 sleeps"], "dog": ["собака", "cane", "犬 runs"]}
MODES = ["RGB", "RGBA", "L", "P", "1", "CMYK", "I;16"]
MODALITIES = {
    "photo": {"image": "photo", "size": 16},
    "sound": {"audio": "sound", "rate": 8000, "seconds": 0.2, "bands": 8, "frames": 12},
    "words": {"text": "words"},
    "facts": {"tabular": ["age", "city"]},
}


def write_picture(file, mode, size, bright):
    rng = np.random.default_rng(sum(size))
    pixels = rng.integers(0, 100, (size[1], size[0], 3), dtype=np.uint8) + np.uint8(120 if bright else 0)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    else:
        image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(128)
    image.save(file)


def write_sound(file, rate, seconds, pitch, channels):
    times = np.arange(int(rate * seconds)) / rate
    wave = 0.5 * np.sin(2 * np.pi * pitch * times)
    soundfile.write(file, np.stack([wave] * channels, 1), rate)


def write_samples(folder, count=60, **changes):
    """A manifest of cats and dogs, as untidy as real ones; `changes` replaces cells by `(row, column)`."""
    rows = []
    for n in range(count):
        label = ("cat", "dog")[n % 2]
        photo = f"{n}.{'jpg' if n % 7 == 0 else 'png'}"
        sound = f"{n}.{('wav', 'ogg', 'flac')[n % 3]}"
        mode = "RGB" if n % 7 == 0 else MODES[n % len(MODES)]
        write_picture(folder / photo, "RGB" if mode == "CMYK" else mode, (9 + n % 13, 20 - n % 7), n % 2)
        write_sound(
            folder / sound, (8000, 16000, 22050)[n % 3], 0.1 + 0.01 * n, 300 + 500 * (n % 2), 1 + n % 2
        )
        rows.append(
            {
                "photo": "" if n % 10 == 3 else photo,
                "sound": "" if n % 10 == 4 else sound,
                "words": WORDS[label][n % 3],
                "age": "" if n % 9 == 0 else str(n % 11 + 5 * (n % 2)),
                "city": ("Oslo", "Łódź")[n % 2] if n % 5 else "",
                "label": label,
            }
        )
    for (row, column), cell in changes.get("cells", {}).items():
        rows[row][column] = cell
    return write_table(folder, rows)


def write_table(folder, rows, name="data.csv"):
    file = folder / name
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return file
