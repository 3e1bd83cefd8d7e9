"""A picture as the tokenizer saw it beside what its codes give back. Needs torch, unlike the rest of this package."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mmada.errors import InputError
from mmada.lineage.manifest import read_artifact
from mmada.params_schema import Params
from mmada.show.known_pictures import Picture
from mmada.single_pictures import MAX_PIXELS, PictureCodec, write_picture
from mmada.vq.image_quality import to_picture
from mmada.vq.magvit import load_magvit
from mmada.vq.preprocess import decode_picture, preprocess


def write_side_by_side(picture: Picture, out: Path, params: Params) -> None:
    """Write a PNG: left the original, cut to size, right its reconstruction. Raises InputError before tokenization."""
    write_picture(side_by_side(picture, params), out)


def side_by_side(picture: Picture, params: Params) -> UInt8[np.ndarray, "H 2W 3"]:
    """Original and reconstruction. Raises InputError before tokenization."""
    if picture.grid is None:
        raise InputError(f"picture {picture.image_sha256} has no codes yet; run `dvc repro tokenize_images`")
    magvit = load_magvit(Path(params.paths.magvit))
    rows, columns = picture.grid.shape
    size = (rows * magvit.sizes.factor, columns * magvit.sizes.factor)
    policy = read_artifact(Path(params.paths.codes)).metadata["crop_policy"]
    original = decode_picture(picture.read_bytes(), max_pixels=MAX_PIXELS)
    left = to_picture(preprocess(original, size=size, policy=policy))
    return np.concatenate([left, PictureCodec(magvit, size, policy).decode(picture.grid)], axis=1)
