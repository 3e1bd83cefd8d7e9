"""From a picture file's bytes to the pixels that the image tokenizer sees.

The crop policies are those of the published training code, bit for bit; which one was used is part of a
tokenizer's identity, because codes of one policy are wrong under another.

Legend of shapes: H W picture height and width, R S height and width that the tokenizer takes.
"""

import io
import warnings
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from mmada.errors import MmadaError

Policy = Literal["centre_crop", "squash", "pad"]
DecodeReason = Literal["image_truncated", "image_mislabelled", "image_unreadable", "image_too_large"]

_LONGEST_SIDE: Final = 100
"""Times the other side: resized by its short side, a picture of one pixel in a million would take the memory of all."""
_MOST_PADDED: Final = 8192
"""Side in pixels of what is padded to a square; larger pictures are made smaller before."""
_WHITE: Final = (255, 255, 255)
# Decoders that run other programs or interpret whole documents are never tried on foreign bytes.
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MAGIC: Final = {
    "PNG": (b"\x89PNG",),
    "JPEG": (b"\xff\xd8",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF8",),
    "BMP": (b"BM",),
    "TIFF": (b"II", b"MM"),
    "PPM": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation."""
_TRUNCATED: Final = ("truncated", "unexpected end", "not enough data", "incomplete", "premature")


class ImageDecodeError(MmadaError):
    """A picture cannot be used; `reason` is the name under which the drop ledger counts it, `detail` what failed."""

    def __init__(self, reason: DecodeReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode_picture(data: bytes, *, max_pixels: int) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of a file: upright by its EXIF orientation, first frame, alpha over white, 16 bits scaled
    to 8.

    The bytes alone say what format it is; what is no picture at all is "image_mislabelled". Raises ImageDecodeError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of sizes that are bounded here
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > max_pixels:
                raise ImageDecodeError("image_too_large", f"{image.width}x{image.height} pixels, limit {max_pixels}")
            if max(image.size) > _LONGEST_SIDE * min(image.size):
                raise ImageDecodeError(
                    "image_too_large", f"{image.width}x{image.height}: a side is over {_LONGEST_SIDE} times the other"
                )
            image.load()
            return _to_rgb(_upright(image))
    except ImageDecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageDecodeError("image_too_large", str(error)) from None
    except UnidentifiedImageError:
        is_picture = data.startswith(tuple(magic for magics in _MAGIC.values() for magic in magics))
        reason: DecodeReason = "image_unreadable" if is_picture or not data else "image_mislabelled"
        raise ImageDecodeError(reason, f"{len(data)} bytes begin with {data[:12]!r}") from None
    except Exception as error:  # Pillow's plugins raise almost anything on broken files
        truncated = any(word in str(error).lower() for word in _TRUNCATED)
        raise ImageDecodeError("image_truncated" if truncated else "image_unreadable", str(error)[:200]) from None


def picture_format(data: bytes) -> str:
    """The format of a picture's bytes by Pillow's name: PNG, JPEG, WEBP, GIF, BMP, TIFF or PPM; "" if none of these."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Image.open(io.BytesIO(data), formats=_FORMATS).format or ""
    except Exception:  # Pillow's plugins raise almost anything on broken files
        return ""
    return "JPEG" if found == "MPO" else found  # a JPEG with more pictures behind the first, as cameras write


def _upright(image: Image.Image) -> Image.Image:
    """As ImageOps.exif_transpose, which also writes all metadata anew, and fails where a camera wrote them badly."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of metadata that are none; the pixels are whole
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode.startswith("I;16") or image.mode == "I":
        scaled = np.asarray(image, dtype=np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*_WHITE, 255))
        image = Image.alpha_composite(ground, rgba)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def preprocess(
    pixels: UInt8[np.ndarray, "H W 3"], *, size: tuple[int, int], policy: Policy
) -> Float[np.ndarray, "3 R S"]:
    """Pixels in [-1, 1] of `size` (height, width).

    centre_crop: short side to the size (bicubic), then the middle; square sizes only. squash: both sides to
    the size. pad: white margins to a square, then squash. Raises ValueError for centre_crop to a size that
    is not square.
    """
    image = Image.fromarray(pixels)
    if policy == "centre_crop":
        if size[0] != size[1]:
            raise ValueError(f"centre_crop makes squares, not {size[0]}x{size[1]}; use squash")
        image = _centre_crop(image, size[0])
    else:
        image = _padded(image) if policy == "pad" else image
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    scaled = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255.0)
    return np.ascontiguousarray((scaled - np.float32(0.5)) / np.float32(0.5))


def _centre_crop(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if width <= height:
        resized = image.resize((side, int(side * height / width)), Image.Resampling.BICUBIC)
    else:
        resized = image.resize((int(side * width / height), side), Image.Resampling.BICUBIC)
    left = round((resized.width - side) / 2.0)
    top = round((resized.height - side) / 2.0)
    return resized.crop((left, top, left + side, top + side))


def _padded(image: Image.Image) -> Image.Image:
    side = min(max(image.size), _MOST_PADDED)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    ground = Image.new("RGB", (side, side), _WHITE)
    ground.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return ground
