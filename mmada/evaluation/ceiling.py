"""What the picture tokenizer lets through: objects that are still read after encoding and decoding."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from mmada.evaluation.metrics import Share, share
from mmada.pictures import CELL, DetectedObject, recognise


def objects_kept(
    pairs: Iterable[tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]]],
) -> Share:
    """Share of the objects of original pictures that are read with equal shape, colour and cell in the
    decoded ones.

    No drawing model can do better than its tokenizer: this stands beside every picture score.
    """
    kept = objects = 0
    for original, decoded in pairs:
        found = {_content(thing) for thing in recognise(decoded)}
        wanted = [_content(thing) for thing in recognise(original)]
        objects += len(wanted)
        kept += sum(content in found for content in wanted)
    return share(kept, objects)


def _content(thing: DetectedObject) -> tuple[str, str, int, int]:
    return thing.shape, thing.colour, int(thing.row // CELL), int(thing.column // CELL)
