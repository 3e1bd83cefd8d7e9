"""Pictures of a corpus: where they lie, what they are, and what is wrong with them.

Decoding is passed in (`Decode`), so that this package needs neither Pillow nor the tokenizer's rules.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from mmada.sources.raw_files import RawFile, RawFolder, changed_meanwhile, read_whole
from mmada.sources.raw_rows import Defect, Limits

T = TypeVar("T")

_AT_ONCE: Final = 8

_FORMATS: Final = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
}


class DecodedPicture(NamedTuple):
    """A picture's pixels, and the format that its bytes are of (PNG, JPEG, ...)."""

    pixels: UInt8[np.ndarray, "H W 3"]
    format: str


Decode = Callable[[bytes], DecodedPicture | Defect]
"""What a picture's bytes show, or what is wrong with them."""


@dataclass(frozen=True)
class PictureFacts:
    """A picture that can be decoded. `pixels_sha256` is of its size and RGB pixels, whatever file holds
    them.
    """

    image_sha256: str
    pixels_sha256: str
    width: int
    height: int
    format: str


def picture_file(folder: RawFolder, template: str, name: str) -> RawFile | Defect:
    """The picture `name` of a corpus: `template` with `{}` replaced. Names that lead out of the corpus are refused."""
    relative = PurePosixPath(template.replace("{}", name))
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        return Defect("image_missing", f"{name[:100]!r} leads out of the corpus")
    return folder.find(relative.as_posix()) or Defect("image_missing", f"{name}: no such file"[:200])


def picture_sha256(file: RawFile, limits: Limits) -> str | Defect:
    """sha256 of a picture file within max_image_bytes."""
    return _bounded(file, limits, lambda found: found.sha256())


def read_known_pictures(known: Sequence[tuple[str, RawFile]], limits: Limits) -> Iterator[bytes]:
    """Bytes of picture files whose sha256 was found before, a few at once: object stores answer late.

    Raises InputError when one is another file by now.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(known), _AT_ONCE):
            yield from pool.map(lambda item: _read_known(item[0], item[1], limits), known[start : start + _AT_ONCE])


def _read_known(sha256: str, file: RawFile, limits: Limits) -> bytes:
    data = _bounded(file, limits, read_whole)
    if isinstance(data, Defect) or hashlib.sha256(data).hexdigest() != sha256:
        raise changed_meanwhile(file)
    return data


def _bounded(file: RawFile, limits: Limits, take: Callable[[RawFile], T]) -> T | Defect:
    size = file.size
    return take(file) if size <= limits.max_image_bytes else Defect("image_too_large", f"{size} bytes")


def picture_facts(data: bytes, decode: Decode) -> PictureFacts | Defect:
    """What a picture file holds; reasons image_truncated, image_mislabelled, image_unreadable,
    image_too_large.
    """
    decoded = decode(data)
    if isinstance(decoded, Defect):
        return decoded
    height, width, _ = decoded.pixels.shape
    content = hashlib.sha256(f"{width}x{height}:".encode() + np.ascontiguousarray(decoded.pixels).tobytes())
    return PictureFacts(hashlib.sha256(data).hexdigest(), content.hexdigest(), width, height, decoded.format)


def promised_format(name: str) -> str:
    """The format that a picture's name promises by its suffix, "" if it promises none."""
    return _FORMATS.get(PurePosixPath(name).suffix.lower(), "")
