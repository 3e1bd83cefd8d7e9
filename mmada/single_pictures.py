"""One picture at a time: a file to codes and back, as the picture tokenizer of a folder sees it.

Legend of shapes: H W picture height and width in pixels, h w grid height and width.
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image

from mmada.errors import InputError
from mmada.storage import explain_os_errors
from mmada.vq.magvit import MAGVITv2, to_uint8
from mmada.vq.preprocess import ImageDecodeError, Policy, decode_picture, preprocess

MAX_PIXELS: Final = 50_000_000
MAX_CODES: Final = 16_384
"""Of one picture: 2048 pixels squared. Each looks at each in the middle of the network, which takes a gibibyte."""
CODE_FILES: Final = (".json", ".npy")


@dataclass(frozen=True)
class PictureCodec:
    """A picture tokenizer with the size (height, width in pixels) and the crop policy of its pictures."""

    magvit: MAGVITv2
    size: tuple[int, int]
    policy: Policy

    def __post_init__(self) -> None:
        factor = self.magvit.sizes.factor
        if any(side <= 0 or side % factor for side in self.size):
            raise InputError(f"pictures of {self.size[0]}x{self.size[1]} pixels: sides must be multiples of {factor}")
        _check_grid(self.grid)
        if self.grid == (1, 1):  # normalised over its pixels, the only one of a layer would be 0 whatever it was
            raise InputError(
                f"a picture of {factor}x{factor} pixels is one code, which shows nothing; give a larger size"
            )
        if self.policy == "centre_crop" and self.size[0] != self.size[1]:
            raise InputError(
                f"centre_crop makes squares, {self.size[0]}x{self.size[1]} is asked for; use the policy squash"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.size[0] // self.magvit.sizes.factor, self.size[1] // self.magvit.sizes.factor

    def encode(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "h w"]:
        """Codes of a picture of any size."""
        prepared = preprocess(pixels, size=self.size, policy=self.policy)
        codes: Int[np.ndarray, "h w"] = (
            self.magvit.encode(torch.from_numpy(prepared)[None])[0].reshape(self.grid).cpu().numpy()
        )
        return codes

    def decode(self, codes: Int[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of a grid of codes, of any height and width. Raises InputError for more codes than a picture may
        have, ContractError for a code out of range.
        """
        _check_grid(codes.shape)
        row = torch.from_numpy(codes.astype(np.int64)).reshape(1, -1)
        pixels = self.magvit.decode(row, height=codes.shape[0], width=codes.shape[1])
        picture: UInt8[np.ndarray, "H W 3"] = to_uint8(pixels)[0]
        return picture


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "512" or "384x256". Raises InputError for anything else."""
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if match is None:
        raise InputError(f"size {text!r}: give one side, such as 512, or HEIGHTxWIDTH, such as 384x256")
    return int(match[1]), int(match[2] or match[1])


def read_picture(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of a picture file. Raises InputError when there is none, or none that can be decoded."""
    try:
        return decode_picture(_read(path), max_pixels=MAX_PIXELS)
    except ImageDecodeError as error:
        raise InputError(f"{path} is no picture that can be shown to a model: {error}") from None


def write_picture(pixels: UInt8[np.ndarray, "H W 3"], path: Path) -> None:
    """Write a PNG. Raises InputError for another kind of file name."""
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    with writing(path):
        Image.fromarray(pixels).save(path)


def codes_text(codes: Int[np.ndarray, "h w"]) -> str:
    """Codes as JSON, one row of the grid a line."""
    return "[\n" + ",\n".join(f" {json.dumps(row)}" for row in codes.tolist()) + "\n]\n"


def write_codes(codes: Int[np.ndarray, "h w"], path: Path) -> None:
    """Write codes as .json, or as .npy (uint16). Raises InputError for another kind of file name."""
    _check_suffix(path)
    with writing(path):
        if path.suffix.lower() == ".npy":
            np.save(path, codes.astype(np.uint16))
        else:
            path.write_text(codes_text(codes), encoding="utf-8")


def read_codes(path: Path) -> Int[np.ndarray, "h w"]:
    """A grid of codes as `write_codes` writes it. Raises InputError when the file holds none."""
    _check_suffix(path)
    data = _read(path)
    try:
        if path.suffix.lower() == ".npy":
            codes: np.ndarray[Any, np.dtype[Any]] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        else:
            codes = np.asarray(json.loads(data))
    except (ValueError, EOFError, OSError, RecursionError, MemoryError) as error:
        raise InputError(f"{path} holds no codes: {error}") from error
    if codes.ndim != 2 or codes.size == 0 or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"{path}: a grid (rows of integers) expected, {codes.dtype} of shape {codes.shape} found")
    return codes


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of a file, whose folder is made. Raises InputError or StorageError when that cannot be."""
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; name another place") from error


def check_place(path: Path) -> None:
    """Asked before long work whose result goes to `path`: `writing` there and then would raise what this raises."""
    is_new = not path.exists()
    with writing(path), path.open("ab"):
        pass
    if is_new:
        path.unlink()


def _check_grid(grid: tuple[int, ...]) -> None:
    rows, columns = grid
    if rows * columns > MAX_CODES:
        raise InputError(
            f"a picture of {rows}x{columns} codes: at most {MAX_CODES:,} fit into memory; take a smaller one"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in CODE_FILES:
        raise InputError(f"{path}: codes are files named {' or '.join(f'*{one}' for one in CODE_FILES)}")
