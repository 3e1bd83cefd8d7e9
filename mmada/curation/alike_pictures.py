"""Pictures that show the same: copies that were scaled, compressed again or cut at the edges by up to a twentieth.

Coarse colours propose, the pixels decide: two pictures are as alike as their least alike part, so that one moved shape
tells drawings apart, and photographs of one kind are no copies.

Legend of shapes: N pictures, K pairs, S side of a sketch, G side of the grid of parts.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Sketches = NDArray[np.uint8]  # [N, S, S, 3]
Pairs = NDArray[np.int64]  # [K, 2], first < second

SKETCH_SIDE: Final = 32
_GRID: Final = 16
"""Parts along each side: a shape that moves by a sixteenth of the side changes whole parts."""
_COARSE: Final = 4
_MARGINS: Final = (0.0, 0.0125, 0.025, 0.0375, 0.05)
"""What may be cut off at each edge, as a share of the side."""
_PLAIN_RADIUS: Final = 16.0
_TEXTURED_RADIUS: Final = 60.0
"""Largest difference of coarse colours of 255 that scaling and compression (13 measured), and cuts (56), make."""
_EDGE: Final = 4.0
_TEXTURED: Final = 0.25
"""Share of neighbours in a sketch that differ by more than _EDGE from which on a cut is looked for: photographs have
0.33 or more, drawings of a few shapes 0.2 or less. A cut drawing is another drawing: its shapes have moved.
"""

_FLAT: Final = 12
"""Range of the colours, of 255, in a part and one pixel of the sketch around it that has one colour, after JPEG too."""
_INSIDE: Final = 3.0
"""Weight of a difference within parts of one colour: copies of drawings differ there by 9 of 255 at most after JPEG of
quality 70, by 16 if they were scaled as well, and by 60 at edges (NLVR, easy-VQA, flags); the next skin tone by 25.
"""
_AT_A_TIME: Final = 1000


def sketch(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture [H, W, 3] scaled down to [S, S, 3] by averages."""
    return np.asarray(Image.fromarray(pixels).resize((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.BOX))


def alike_candidates(sketches: Sketches) -> Pairs:
    """Pairs of pictures whose coarse colours are close enough for copies, in order."""
    if len(sketches) < 2:
        return np.empty((0, 2), np.int64)
    from scipy.spatial import cKDTree  # a fifth of a second, which only those who have pictures wait for

    coarse = _parts(sketches, _COARSE).reshape(len(sketches), -1)
    textured = np.flatnonzero(_is_textured(sketches))
    found = [cKDTree(coarse).query_pairs(_PLAIN_RADIUS, p=np.inf, output_type="ndarray")]
    if textured.size > 1:
        tree = cKDTree(coarse[textured])
        found.append(textured[tree.query_pairs(_TEXTURED_RADIUS, p=np.inf, output_type="ndarray")])
    return np.unique(np.sort(np.concatenate(found).astype(np.int64), axis=1), axis=0)


def similarities(sketches: Sketches, pairs: Pairs) -> NDArray[np.float64]:
    """How alike [K] the pictures of each pair are, in [0, 1]: one less the largest difference between the mean colours
    of a sixteenth by a sixteenth of the two. Of textured pictures also one with its edges cut is compared; of others,
    where both have one colour there, the difference counts threefold: another colour is another drawing.
    """
    parts = _parts(sketches, _GRID)
    textured, flat = _is_textured(sketches), _is_flat(sketches)
    result = np.empty(len(pairs))
    for place, (left, right) in enumerate(pairs):
        differences = np.abs(parts[left] - parts[right])
        difference = differences.max()
        if textured[left] and textured[right]:
            cuts = (_cut_difference(sketches[left], parts[right]), _cut_difference(sketches[right], parts[left]))
            difference = min(difference, *cuts)
        else:
            inside = differences[flat[left] & flat[right]].max(initial=0)
            difference = min(max(difference, _INSIDE * inside), 255)
        result[place] = 1 - difference / 255
    return result


def _parts(sketches: Sketches, grid: int) -> NDArray[np.float32]:
    """Mean colours [N, G, G, 3] of the parts."""
    size = SKETCH_SIDE // grid
    parts: NDArray[np.float32] = sketches.reshape(-1, grid, size, grid, size, 3).mean(axis=(2, 4), dtype=np.float32)
    return parts


def _is_textured(sketches: Sketches) -> NDArray[np.bool_]:
    grey = sketches.mean(axis=3, dtype=np.float32)
    textured: NDArray[np.bool_] = (np.abs(np.diff(grey, axis=1)) > _EDGE).mean(axis=(1, 2)) >= _TEXTURED
    return textured


def _is_flat(sketches: Sketches) -> NDArray[np.bool_]:
    """Which parts [N, G, G] have one colour, with one pixel of the sketch around them."""
    size = SKETCH_SIDE // _GRID
    flat = np.empty((len(sketches), _GRID, _GRID), dtype=bool)
    for start in range(0, len(sketches), _AT_A_TIME):
        around = np.pad(sketches[start : start + _AT_A_TIME], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        highest, lowest = around, around
        for axis in (1, 2):
            ends = [range(place, place + SKETCH_SIDE, size) for place in range(size + 2)]
            highest = np.max([highest.take(end, axis) for end in ends], axis=0)
            lowest = np.min([lowest.take(end, axis) for end in ends], axis=0)
        flat[start : start + _AT_A_TIME] = (highest - lowest <= _FLAT).all(axis=3)
    return flat


def _cut_difference(one: NDArray[np.uint8], other: NDArray[np.float32]) -> float:
    """Smallest difference, over all ways to cut a picture [S, S, 3], from the parts [G, G, 3] of another."""
    rows = _cut_means(one.reshape(SKETCH_SIDE, -1).astype(np.float32)).reshape(-1, SKETCH_SIDE, 3)
    columns = _cut_means(rows.transpose(1, 0, 2).reshape(SKETCH_SIDE, -1))
    # Across, its part, down, its part with its colour: what is compared lies in one run of memory.
    cuts = columns.reshape(len(columns), _GRID, len(columns), -1)
    cuts -= np.ascontiguousarray(other.transpose(1, 0, 2)).reshape(_GRID, 1, -1)
    return float(np.abs(cuts, out=cuts).max(axis=(1, 3)).min())


def _cut_means(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means [25, G, K] of the parts of a side of S lines of K values that is cut in every way."""
    spans = np.array([(first, 1 - last) for first in _MARGINS for last in _MARGINS])
    edges = np.linspace(spans[:, 0], spans[:, 1], _GRID + 1, axis=1) * SKETCH_SIDE
    sums = np.concatenate([np.zeros((1, lines.shape[1]), np.float32), np.cumsum(lines, axis=0)])
    whole = np.minimum(edges.astype(np.int64), SKETCH_SIDE - 1)
    before_edge = sums[whole] + (edges - whole).astype(np.float32)[..., None] * lines[whole]
    means: NDArray[np.float32] = np.diff(before_edge, axis=1)
    means /= np.diff(edges, axis=1)[..., None].astype(np.float32)
    return means
