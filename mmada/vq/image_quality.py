"""What a picture and its codes are worth: facts by which flat, noisy and badly tokenized pictures are found.

Missing parts of a picture: lost_parts. Legend of shapes: H W height and width in pixels, N codes of a picture.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image

_BLUR: Final = 9
"""Pixels of the mean that blurs once more."""
_SCALED_SIDE: Final = 128
"""Largest shorter side of a picture whose blur is measured."""


def psnr(original: UInt8[np.ndarray, "H W 3"], decoded: UInt8[np.ndarray, "H W 3"]) -> float:
    """Peak signal-to-noise ratio of a reconstruction in dB; equal pictures give 99."""
    error = float(np.mean((original.astype(np.float64) - decoded.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else min(99.0, 10.0 * float(np.log10(255.0**2 / error)))


def pixel_std(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """Standard deviation of the pixel values inside a margin of an eighth, largest of the channels, in [0, 127.5].

    0 = flat. The margin is left out so that a frame around an empty page does not count.
    """
    height, width = picture.shape[:2]
    inside = picture[height // 8 : height - height // 8, width // 8 : width - width // 8]
    return float(inside.reshape(-1, 3).astype(np.float64).std(axis=0).max())


def structure(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """Share of the pixels' variance that is left in the means of 8 x 8 tiles, of rows, or of columns, the largest of
    them, in [0, 1]; 1 for a picture of one colour.

    Noise has none: neighbours say nothing of each other, so a mean over n of them keeps a share of 1/n. Pictures keep
    large shapes, pages of text their lines. At least 8 x 8 pixels.
    """
    pixels = picture.astype(np.float64)
    whole = _variance(pixels)
    if whole == 0:
        return 1.0
    height, width = (side // 8 for side in picture.shape[:2])
    tiles = pixels[: 8 * height, : 8 * width].reshape(8, height, 8, width, 3).mean(axis=(1, 3))
    return max(_variance(tiles), _variance(pixels.mean(axis=0)), _variance(pixels.mean(axis=1))) / whole


def _variance(values: Float[np.ndarray, "*any 3"]) -> float:
    """Over all places, the channels' added up."""
    return float(values.reshape(-1, 3).var(axis=0).sum())


def blur(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """How little one more blur takes away: the share of the differences between neighbouring pixels, across and down,
    that a mean over nine of them leaves, in [0, 1]; 0 for a picture of one colour.

    After Crete, Dolmiere, Ladret and Nicolas 2007, "The blur effect". What is sharp loses most of it, what is blurred
    hardly changes, whatever its contrast; both directions count together (there the more blurred one alone), for what
    is sharp in one is no blurred picture. Large ones are scaled down first, so that equal numbers look alike.
    """
    scale = min(1.0, _SCALED_SIDE / min(picture.shape[:2]))
    height, width = (round(scale * side) for side in picture.shape[:2])
    grey = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)).mean(axis=2)
    (lost, whole), (lost_down, whole_down) = _lost_by_blur(grey), _lost_by_blur(grey.T)
    return float(1.0 - (lost + lost_down) / (whole + whole_down)) if whole + whole_down else 0.0


def _lost_by_blur(lines: Float[np.ndarray, "H W"]) -> tuple[float, float]:
    """Sums of what a mean takes from the differences along lines, and of the differences."""
    padded = np.pad(lines, ((0, 0), (_BLUR // 2 + 1, _BLUR // 2)), mode="edge").cumsum(axis=1)
    means = (padded[:, _BLUR:] - padded[:, :-_BLUR]) / _BLUR
    differences = np.abs(np.diff(lines, axis=1))
    lost = np.maximum(differences - np.abs(np.diff(means, axis=1)), 0.0)
    return float(lost.sum()), float(differences.sum())


def code_entropy(codes: NDArray[np.integer]) -> float:
    """Entropy in bits of the distribution of codes within one picture; 0 = one code everywhere."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(abs(-(shares * np.log2(shares)).sum()))


def to_picture(pixels: Float[np.ndarray, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels in [-1, 1] as a picture, rounded."""
    scaled = np.clip((pixels + 1.0) * 127.5, 0.0, 255.0)
    return np.rint(scaled).astype(np.uint8).transpose(1, 2, 0)
