"""Pictures of every kind decode to upright RGB, broken ones are named, crops follow the published sums."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from mmada.sources.picture_files import promised_format
from mmada.vq.preprocess import ImageDecodeError, Policy, decode_picture, picture_format, preprocess

LIMIT = 1_000_000


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)  # type: ignore[arg-type]  # Pillow types options per format
    return buffer.getvalue()


def _gradient(width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 10, x + y], axis=-1).astype(np.uint8))


def _reason(data: bytes, *, limit: int = LIMIT) -> str:
    with pytest.raises(ImageDecodeError) as caught:
        decode_picture(data, max_pixels=limit)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_plain_modes_keep_their_colours(mode: str) -> None:
    image = _gradient().convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode_picture(_bytes(image, "PNG"), max_pixels=LIMIT), expected)


@pytest.mark.parametrize(
    ("orientation", "turns", "is_mirrored"),
    [
        (1, 0, False),
        (2, 0, True),
        (3, 2, False),
        (4, 2, True),
        (5, 1, True),
        (6, 3, False),
        (7, 3, True),
        (8, 1, False),
    ],
)
def test_orientation_is_applied(orientation: int, turns: int, is_mirrored: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = np.asarray(_gradient())
    upright = np.rot90(plain[:, ::-1] if is_mirrored else plain, turns)
    assert np.array_equal(decode_picture(_bytes(_gradient(), "PNG", exif=exif), max_pixels=LIMIT), upright)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_that_are_none_cost_no_picture(kind: str) -> None:
    to_be_turned = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0)
    not_as_promised = struct.pack("<HHL4s", 0x011A, 2, 4, b"72/1")  # a resolution in text
    badly = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + to_be_turned + not_as_promised + bytes(4)
    for exif, shape in ((badly, (60, 40, 3)), (b"Exif\0\0garbage!", (40, 60, 3))):
        data = _bytes(Image.new("RGB", (60, 40)), kind, exif=exif)
        assert decode_picture(data, max_pixels=LIMIT).shape == shape


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "GIF"), ("RGBA", "WEBP")])
def test_transparency_lies_on_white(mode: str, kind: str) -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    image = clear if mode == "RGBA" else clear.convert("LA").convert(mode)
    pixels = decode_picture(_bytes(image, kind, **({"lossless": True} if kind == "WEBP" else {})), max_pixels=LIMIT)
    assert (pixels[1:] == 255).all()
    assert (pixels[0, 0] == 0).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = Image.fromarray(np.full((4, 4), 0x8080, dtype=np.uint16))
    assert (decode_picture(_bytes(wide, "PNG"), max_pixels=LIMIT) == 0x80).all()


def test_cmyk_becomes_rgb() -> None:
    pixels = decode_picture(_bytes(_gradient().convert("CMYK"), "JPEG", quality=100), max_pixels=LIMIT)
    assert np.abs(pixels.astype(int) - np.asarray(_gradient()).astype(int)).mean() < 3


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = _bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode_picture(data, max_pixels=LIMIT)[0, 0] == (255, 0, 0)).all(), kind


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_format_of_a_picture_is_that_of_its_bytes(kind: str) -> None:
    data = _bytes(_gradient(), kind)
    assert decode_picture(data, max_pixels=LIMIT).shape == (*_gradient().size[::-1], 3)
    assert picture_format(data) == promised_format(f"a.b.{kind}") == kind
    assert (
        picture_format(data[:3]) == picture_format(b"<html>") == promised_format("a.txt") == promised_format("") == ""
    )


def test_a_jpeg_with_more_pictures_behind_the_first_is_a_jpeg() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = _bytes(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert picture_format(data) == "JPEG"
    assert decode_picture(data, max_pixels=LIMIT)[0, 0, 0] > 200


def test_broken_pictures_are_named_by_what_is_wrong() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    png = _bytes(Image.fromarray(noise), "PNG")
    jpeg = _bytes(Image.fromarray(noise), "JPEG")
    assert _reason(png[: len(png) // 2]) == "image_truncated"
    assert _reason(jpeg[: len(jpeg) // 2]) == "image_truncated"
    assert _reason(b"<!DOCTYPE html><html></html>") == "image_mislabelled"
    assert _reason(b"") == "image_unreadable"
    assert _reason(png, limit=100) == "image_too_large"


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 64), (64, 101), (37, 53), (640, 427)])
def test_centre_crop_takes_the_middle_of_the_resized_picture(width: int, height: int) -> None:
    image = Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3)).astype(np.uint8))
    side = 32
    scaled = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    left, top = round((scaled[0] - side) / 2), round((scaled[1] - side) / 2)
    resized = np.asarray(image.resize(scaled, Image.Resampling.BICUBIC))
    expected = (resized[top : top + side, left : left + side].astype(np.float32) / 255 - 0.5) / 0.5
    result = preprocess(np.asarray(image), size=(side, side), policy="centre_crop")
    assert result.dtype == np.float32
    assert np.array_equal(result, expected.transpose(2, 0, 1))


def test_pad_keeps_everything_and_fills_with_white() -> None:
    black = np.zeros((16, 64, 3), dtype=np.uint8)
    result = preprocess(black, size=(64, 64), policy="pad")
    assert (result[:, 0] == 1.0).all()
    assert (result[:, 32] == -1.0).all()


def test_squash_reaches_any_size_and_centre_crop_only_squares() -> None:
    pixels = np.asarray(_gradient())
    assert preprocess(pixels, size=(32, 48), policy="squash").shape == (3, 32, 48)
    with pytest.raises(ValueError, match="squares"):
        preprocess(pixels, size=(32, 48), policy="centre_crop")


@pytest.mark.parametrize("policy", ["centre_crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 90), (9000, 120)])
def test_long_pictures_take_little_memory_and_longer_ones_are_refused(policy: Policy, size: tuple[int, int]) -> None:
    long = Image.new("RGB", size, (200, 10, 10))
    pixels = decode_picture(_bytes(long, "PNG"), max_pixels=10**7)
    tracemalloc.start()
    seen = preprocess(pixels, size=(64, 64), policy=policy)
    assert tracemalloc.get_traced_memory()[1] < 10 * pixels.nbytes + 10**6
    tracemalloc.stop()
    assert seen.shape == (3, 64, 64)
    longer = Image.new("RGB", (size[0] // 9000 or 1, 101), (200, 10, 10))
    assert _reason(_bytes(longer, "PNG")) == "image_too_large"
