"""Pictures of a size that a page can carry."""

import io
from typing import Final

from PIL import Image

_SIDE: Final = 256


def thumbnail(image: Image.Image) -> bytes:
    """A PNG of at most 256 x 256 pixels: what a browser would have to scale down anyway is scaled here."""
    stream = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    small.save(stream, format="PNG")
    return stream.getvalue()
