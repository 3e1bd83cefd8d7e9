"""Flat, noisy, broken, blurred, small and elongated pictures made of good ones."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageFilter

Pixels = UInt8[np.ndarray, "H W 3"]
Random = np.random.Generator


def one_colour(picture: Pixels, random: Random) -> Pixels:
    """One colour with the noise of a sensor, as a JPEG leaves it."""
    noise = random.normal(0, random.uniform(0, 2.5), picture.shape)
    return _jpeg(_pixels(random.integers(0, 256, 3) + noise), random)


def empty_page(picture: Pixels, random: Random) -> Pixels:
    """A page with nothing in its frame of 1 to 5 % of the width."""
    page = np.full(picture.shape, float(random.integers(225, 256)))
    width = max(1, int(min(picture.shape[:2]) * random.uniform(0.01, 0.05)))
    inside = page[width:-width, width:-width].copy()
    page[:] = random.integers(0, 120, 3)
    page[width:-width, width:-width] = inside
    return _jpeg(_pixels(page + random.normal(0, random.uniform(0, 2), page.shape)), random)


def noise(picture: Pixels, random: Random) -> Pixels:
    """Noise of one of four kinds: all values alike, normal, grey, or the picture's own pixels in any order."""
    height, width = picture.shape[:2]
    kinds: list[Callable[[], Any]] = [
        lambda: random.integers(0, 256, picture.shape),
        lambda: random.normal(random.uniform(60, 190, 3), random.uniform(30, 70), picture.shape),
        lambda: random.integers(0, 256, (height, width, 1)).repeat(3, axis=2),
        lambda: random.permutation(picture.reshape(-1, 3)).reshape(picture.shape),
    ]
    return _jpeg(_pixels(kinds[random.integers(4)]()), random)


def truncated(picture: Pixels, random: Random) -> Pixels:
    """A JPEG that breaks off when 30 to 80 % of its rows are still to come, as a lenient decoder fills it up."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=int(random.integers(60, 96)))
    wanted, data = random.uniform(0.3, 0.8), stream.getvalue()
    shortest, longest = 0, len(data)
    while longest - shortest > len(data) // 100:
        length = (shortest + longest) // 2
        grey = (_lenient(data[:length]) == 128).all(axis=(1, 2)).mean()
        shortest, longest = (length, longest) if grey > wanted else (shortest, length)
    return _lenient(data[:shortest])


def missing(picture: Pixels, random: Random) -> Pixels:
    """30 to 70 % replaced by a colour that the picture hardly has: the upper, lower, left or right part or a square."""
    height, width = picture.shape[:2]
    share = random.uniform(0.3, 0.7)
    rows, columns = int(share * height), int(share * width)
    high, wide = int(share**0.5 * height), int(share**0.5 * width)
    top, left = random.integers(height - high), random.integers(width - wide)
    parts = [
        np.s_[:rows], np.s_[height - rows :], np.s_[:, :columns], np.s_[:, width - columns :],
        np.s_[top : top + high, left : left + wide],
    ]  # fmt: skip
    broken = picture.copy()
    colours = random.permutation([(128, 128, 128), (0, 0, 0), *random.integers(0, 256, (2, 3))])
    had = [(np.abs(picture[::8, ::8].astype(int) - colour).max(axis=2) < 10).mean() for colour in colours]
    broken[parts[random.integers(5)]] = colours[int(np.argmax(np.array(had) < 0.05))]
    return _jpeg(broken, random)


def blurred(picture: Pixels, random: Random) -> Pixels:
    """Out of focus by two to four 64ths of the shorter side, of larger pictures by one and a quarter or more."""
    side = min(picture.shape[:2])
    sigma = random.uniform(1.25 if side >= 100 else 2.25, 4) * side / 64
    return _jpeg(np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma))), random)


def small(picture: Pixels, random: Random) -> Pixels:
    """A thumbnail of 8 to 31 pixels."""
    scale = random.integers(8, 32) / min(picture.shape[:2])
    height, width = (max(8, int(scale * side)) for side in picture.shape[:2])
    return _jpeg(np.asarray(Image.fromarray(picture).resize((width, height))), random)


def elongated(picture: Pixels, random: Random) -> Pixels:
    """A banner of at least 32 pixels, six times as long or longer, upright at times."""
    height, width = (int(32 * random.uniform(1, 4)), int(32 * 4 * random.uniform(6, 12)))
    banner = Image.fromarray(picture).resize((width, width)).crop((0, width // 2, width, width // 2 + height))
    return _jpeg(np.asarray(banner.rotate(90 * random.integers(2), expand=True)), random)


def _lenient(data: bytes) -> Pixels:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError:  # broken off before the first row
        return np.full((8, 8, 3), 128, dtype=np.uint8)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _jpeg(picture: Pixels, random: Random) -> Pixels:
    """Half of the pictures as they are, half as a JPEG of some quality gives them back."""
    if random.random() < 0.5:
        return picture
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=int(random.integers(30, 96)))
    return np.asarray(Image.open(stream).convert("RGB"))


def _pixels(values: Any) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)
