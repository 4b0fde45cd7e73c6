"""From the bytes of a picture or a sound to an array of a fixed shape."""

import io
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS = 0.025
DECIBELS = 80.0
SILENCE = 1e-10
LOWEST_HERTZ = 60.0
WHITE = (255, 255, 255, 255)
LOUDEST = 32_767
BEYOND = 1e9  # of which powers overflow
MOST_PIXELS = 100_000_000


def picture(content: bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture as `(channels, size, size)`: on white where transparent, padded to a square."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("no picture in a known format") from None
    with opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{opened.width}×{opened.height} pixels are more than {MOST_PIXELS:,}")
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            image = Image.fromarray(_eight_bits(np.asarray(image, dtype=np.float64), image.mode))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
        image = image.convert("L" if channels == 1 else "RGB")
        image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _eight_bits(values: NDArray[np.float64], mode: str) -> NDArray[np.uint8]:
    """Grey levels from 0 to 255: of 16 bits as they stand, of wider numbers over their own range."""
    low, high = (0.0, 65535.0) if mode.startswith("I;16") else (values.min(), values.max())
    return ((values - low) / ((high - low) or 1) * 255).round().astype(np.uint8)


def signal(content: bytes, rate: int, seconds: float) -> NDArray[np.float32]:
    """One sound as `(samples,)`: mono, at `rate` hertz, cut to its length or padded with silence."""
    import soundfile
    from scipy.signal import resample_poly

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            own = sound.samplerate
            samples = sound.read(math.ceil(own * seconds), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(error.error_string) from None
    if not len(samples):
        raise ValueError("it holds no samples")
    if not np.isfinite(samples).all():
        raise ValueError("it holds samples that are not numbers")
    if (peak := np.abs(samples).max()) > BEYOND:
        raise ValueError(f"it holds samples of {peak:.0e}, where 1 is loud")
    common = math.gcd(own, rate)
    length = round(rate * seconds)
    resampled = resample_poly(samples.mean(1), rate // common, own // common)[:length]
    padded: NDArray[np.float32] = np.pad(resampled, (0, length - len(resampled)))
    return padded


def waveform(content: bytes, rate: int, seconds: float) -> NDArray[np.int16]:
    """One sound as `(1, samples)`, in 16 bits."""
    samples = np.clip(signal(content, rate, seconds), -1, 1) * LOUDEST
    return samples.round().astype(np.int16)[None]


def log_mel(content: bytes, rate: int, seconds: float, bands: int, frames: int) -> NDArray[np.float32]:
    """One sound as `(1, bands, frames)`: decibels below its loudest point, at most 80."""
    samples, width = signal(content, rate, seconds), round(rate * WINDOW_SECONDS)
    starts = np.linspace(0, len(samples) - 1, frames).astype(int)
    windows = np.pad(samples, (0, width))[starts[:, None] + np.arange(width)]
    power = np.abs(np.fft.rfft(windows * np.hanning(width).astype(np.float32), axis=1)) ** 2
    mel = power @ mel_filters(rate, width, bands).T
    if mel.max() <= SILENCE:
        return np.full((1, bands, frames), -DECIBELS, np.float32)
    decibels = 10 * np.log10(np.maximum(mel, SILENCE))
    return np.maximum(decibels - decibels.max(), -DECIBELS).T[None].astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(rate: int, width: int, bands: int) -> NDArray[np.float64]:
    """Triangles `(bands, width // 2 + 1)`, evenly spaced on the mel scale from 60 Hz to half of the rate.

    The scale is O'Shaughnessy's: 2595 · log10(1 + f / 700).
    """
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST_HERTZ, rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(width, 1 / rate)[None]
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak))
    # A triangle narrower than the bins would be empty: it takes the bin nearest to its peak.
    nearest = np.abs(frequencies - peak) == np.abs(frequencies - peak).min(1, keepdims=True)
    filters = np.maximum(triangles, 0)
    return np.where(filters.sum(1, keepdims=True) > 0, filters, nearest)
