"""Pictures of a size that a page can carry."""

import io
import sys
from typing import Final

from PIL import Image

from mmada.vq.preprocess import decode_picture

_SIDE: Final = 256


def thumbnail_of_file(data: bytes) -> bytes:
    """Of a picture's file as ingest took it: upright, over white, of 8 bits, as the models see it."""
    return thumbnail(Image.fromarray(decode_picture(data, max_pixels=sys.maxsize)))


def thumbnail(image: Image.Image) -> bytes:
    """A PNG of at most 256 x 256 pixels: what a browser would have to scale down anyway is scaled here."""
    stream = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    small.save(stream, format="PNG")
    return stream.getvalue()
