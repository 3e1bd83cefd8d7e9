"""Pictures of the page are those that the models see, small enough to be carried."""

import io

import numpy as np
from PIL import Image

from mmada.site.thumbnail import thumbnail_of_file


def _file(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", **options)
    return stream.getvalue()


def _shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(thumbnail_of_file(data)))


def test_what_is_transparent_is_white() -> None:
    assert _shown(_file(Image.new("RGBA", (20, 10), (0, 0, 0, 0)))).getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bits_are_scaled() -> None:
    grey = Image.fromarray(np.full((10, 10), 100 * 257, np.uint16))
    assert _shown(_file(grey)).getpixel((3, 3)) == (100, 100, 100)


def test_a_turned_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    assert _shown(_file(Image.new("RGB", (40, 10)), exif=exif)).size == (10, 40)


def test_a_large_picture_is_made_small() -> None:
    assert _shown(_file(Image.new("RGB", (1000, 500)))).size == (256, 128)
