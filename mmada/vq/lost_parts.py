"""How much of a picture is missing: what a decoder leaves of a truncated file is a rectangle of one colour.

Legend of shapes: H W height and width in pixels, h w grid of cells.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

_CELLS: Final = 32
"""Cells along the shorter side of the grid, fewer in a picture of fewer than 64 pixels: a cell has at least 2 x 2."""
_SMALLEST: Final = 0.05
"""Share of the picture that a colour must have to be looked at."""
_TOLERANCE: Final = 6
"""Difference from the colour, in each channel, that resizing and JPEG leave within a rectangle of one colour."""
_FULL: Final = 0.9
"""Share of a cell's pixels that makes it a cell of the colour."""
_GAP: Final = 2
"""Cells between a rectangle and what counts as beyond it: a JPEG breaks off within a row of 16 pixels."""
_MOST_ELSEWHERE: Final = 0.15
"""Share of the rest that may have the colour; drawings have at least 0.25 of their ground beyond the largest empty
rectangle (the embedded corpus), truncated photographs 0.05 (COCO), where the sky is as white as the missing part 0.4.
"""

_DRAWN: Final = 0.35
"""Share of the other cells that have exactly one colour from which on a picture is drawn: 98 of 100 broken photographs
stay below 0.32 (COCO, Kodak), flags, slides and charts of one to three bars begin at 0.4, where they were JPEG at 0.25.
"""


def lost_share(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """Share of the picture in the largest rectangle of one colour that ends sharply and whose colour the rest hardly
    has, in [0, 1); an edge that is sharp along half of its length counts half.

    The ground of a drawing or a page is no such rectangle, because it goes on beyond it; a bright sky seldom is,
    because it has no straight edge. Of a picture that is drawn (flags, charts, slides) nothing but a decoder's grey is
    taken for lost: a rectangle of one colour is what it shows. A picture of one colour has none: pixel_std finds it.
    """
    height, width = picture.shape[:2]
    cell = max(2, min(height, width) // _CELLS)
    picture = picture[: height // cell * cell, : width // cell * cell]
    by_cell = picture.reshape(picture.shape[0] // cell, cell, picture.shape[1] // cell, cell, 3)
    plain = (by_cell == by_cell[:, :1, :, :1]).all(axis=(1, 3, 4))
    bins = (picture >> 3).astype(np.intp) @ np.array([1 << 10, 1 << 5, 1])
    counts = np.bincount(bins.ravel())
    largest = 0.0
    for chosen in np.flatnonzero(counts >= _SMALLEST * bins.size):
        colour = np.median(picture[bins == chosen], axis=0)
        same = (np.abs(picture - colour) <= _TOLERANCE).all(axis=2)
        cells = same.reshape(same.shape[0] // cell, cell, same.shape[1] // cell, cell).mean(axis=(1, 3))
        if (cells >= _FULL).mean() > largest and (_is_left_by_decoder(colour) or not _is_drawn(plain[cells == 0])):
            largest = max(largest, _sharp_share(cells))
    return largest


def _is_left_by_decoder(colour: Float[np.ndarray, "3"]) -> bool:
    """Whether it is 128, which JPEG decoders leave where coefficients are missing, and which is seldom drawn."""
    return bool((np.abs(colour - 128) <= 2).all())


def _is_drawn(plain: Bool[np.ndarray, " n"]) -> bool:
    """Whether cells of exactly one colour (`plain`) are so many among these."""
    return plain.size > 0 and float(plain.mean()) >= _DRAWN


def _sharp_share(cells: Float[np.ndarray, "h w"]) -> float:
    """For the colour that fills these shares of the cells: its largest rectangle's share of all, by its sharpness."""
    top, bottom, left, right = _largest_rectangle(cells >= _FULL)
    if top == bottom:
        return 0.0
    rest = np.ones_like(cells, dtype=bool)
    rest[max(top - _GAP, 0) : bottom + _GAP, max(left - _GAP, 0) : right + _GAP] = False
    if not rest.any() or cells[rest].mean() > _MOST_ELSEWHERE:
        return 0.0
    height, width = cells.shape
    beyond = [cells[row, left:right] for row in (top - 1 - _GAP, bottom + _GAP) if 0 <= row < height]
    beyond += [cells[top:bottom, column] for column in (left - 1 - _GAP, right + _GAP) if 0 <= column < width]
    blurred = max((float(strip.mean()) for strip in beyond), default=1.0)
    return (bottom - top) * (right - left) / cells.size * (1 - blurred)


def _largest_rectangle(full: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """top, bottom, left, right (ends exclusive) of the largest rectangle of full cells; all 0 if there is none.

    Row by row, the largest rectangle under the skyline of full cells above it, by a stack of rising heights.
    """
    best, area = (0, 0, 0, 0), 0
    heights = np.zeros(full.shape[1] + 1, dtype=np.intp)  # the last one stays 0 and ends every rectangle
    for row, cells in enumerate(full):
        heights[:-1] = np.where(cells, heights[:-1] + 1, 0)
        rising: list[tuple[int, int]] = []  # (first column, height)
        for column, height in enumerate(heights.tolist()):
            first = column
            while rising and rising[-1][1] >= height:
                first, tallest = rising.pop()
                if tallest * (column - first) > area:
                    best, area = (row + 1 - tallest, row + 1, first, column), tallest * (column - first)
            rising.append((first, height))
    return best
