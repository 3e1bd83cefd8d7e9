"""What a picture and its codes are worth: facts by which broken, flat and badly tokenized pictures are found.

Legend of shapes: H W height and width in pixels, N codes of a picture.
"""

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray


def psnr(original: UInt8[np.ndarray, "H W 3"], decoded: UInt8[np.ndarray, "H W 3"]) -> float:
    """Peak signal-to-noise ratio of a reconstruction in dB; equal pictures give 99."""
    error = float(np.mean((original.astype(np.float64) - decoded.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else min(99.0, 10.0 * float(np.log10(255.0**2 / error)))


def pixel_std(picture: UInt8[np.ndarray, "H W 3"]) -> float:
    """Standard deviation of all pixel values over positions, largest of the channels, in [0, 127.5]; 0 =
    flat."""
    return float(picture.reshape(-1, 3).astype(np.float64).std(axis=0).max())


def code_entropy(codes: NDArray[np.integer]) -> float:
    """Entropy in bits of the distribution of codes within one picture; 0 = one code everywhere."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(abs(-(shares * np.log2(shares)).sum()))


def to_picture(pixels: Float[np.ndarray, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels in [-1, 1] as a picture, rounded."""
    scaled = np.clip((pixels + 1.0) * 127.5, 0.0, 255.0)
    return np.rint(scaled).astype(np.uint8).transpose(1, 2, 0)
