"""The unit of work of picture tokenization: a few picture files in, their codes and what these are worth out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int, UInt8

from mmada.contracts.code_packing import pack_codes
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.tables import to_parquet
from mmada.errors import ParamsError
from mmada.numerics import compute_device, numerics_class
from mmada.vq.image_quality import blur, code_entropy, pixel_std, psnr, structure, to_picture
from mmada.vq.lost_parts import lost_share
from mmada.vq.magvit import MAGVITv2, load_magvit, to_uint8
from mmada.vq.preprocess import Policy, decode_picture, preprocess

THREADS: Final = 1
"""Small pictures give threads too little to do; processes side by side share the machine better."""

_BATCH: Final = 16
_DECODED_AHEAD: Final = 2 * _BATCH

T = TypeVar("T")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class EncodingTask:
    """Pictures to be encoded, and how. `pictures`: columns image_sha256, pixels_sha256, bytes (contracts PICTURES).

    `numerics`: the class of machine that the codes are to come from (numerics.numerics_class).
    """

    pictures: pl.DataFrame
    magvit: Path
    resolution: int
    crop_policy: Policy
    max_pixels: int
    numerics: str


def encode_pictures(task: EncodingTask) -> bytes:
    """The pictures' rows of the token table (IMAGE_CODES, parquet), in order.

    Threads decode the next pictures and judge the last ones while the network has these, so that it waits for neither.
    Raises ParamsError on a machine of another numerics class.
    """
    torch.set_num_threads(THREADS)
    if numerics_class(THREADS) != task.numerics:
        raise ParamsError(
            f"this worker is {numerics_class(THREADS)}, the run began on {task.numerics}: codes of one table must come "
            "from machines alike; start the run on one of the workers' kind, or set MMADA_DEVICE"
        )
    model = _load(task.magvit)
    names = task.pictures.select("image_sha256", "pixels_sha256").rows()

    def prepare(data: bytes) -> _Prepared:
        picture = decode_picture(data, max_pixels=task.max_pixels)
        pixels = preprocess(picture, size=(task.resolution, task.resolution), policy=task.crop_policy)
        original = to_picture(pixels)
        side, longer = sorted(picture.shape[:2])
        facts = (pixel_std(original), structure(original), lost_share(original), blur(picture), side, longer / side)
        return _Prepared(pixels, original, facts)

    with ThreadPoolExecutor() as pool:
        encoded = _encoded(model, _ahead(pool, prepare, task.pictures["bytes"], _DECODED_AHEAD))
        facts = _ahead(pool, _facts, encoded, _BATCH)
        rows = [own + of_picture for own, of_picture in zip(names, facts, strict=True)]
    return to_parquet(pl.DataFrame(rows, schema=pl.Schema(IMAGE_CODES), orient="row"), IMAGE_CODES)


@dataclass(frozen=True)
class _Prepared:
    """A picture as the network takes it, as it looks, and the facts that need no network."""

    pixels: Float[np.ndarray, "3 R R"]
    original: UInt8[np.ndarray, "R R 3"]
    facts: tuple[float, ...]


@dataclass(frozen=True)
class _Encoded:
    prepared: _Prepared
    codes: Int[np.ndarray, "h w"]
    decoded: UInt8[np.ndarray, "R R 3"]


def _encoded(model: MAGVITv2, pictures: Iterator[_Prepared]) -> Iterator[_Encoded]:
    """The network's part, in batches."""
    while batch := list(islice(pictures, _BATCH)):
        pixels = torch.from_numpy(np.stack([one.pixels for one in batch]))
        side = pixels.shape[-1] // model.sizes.factor
        codes = model.encode(pixels)
        decoded = to_uint8(model.decode(codes, height=side, width=side))
        grids = codes.view(-1, side, side).cpu().numpy()
        yield from (_Encoded(*one) for one in zip(batch, grids, decoded, strict=True))


def _facts(picture: _Encoded) -> tuple[object, ...]:
    """Columns of IMAGE_CODES after the first two."""
    before, codes = picture.prepared, picture.codes.ravel()
    quality = (psnr(before.original, picture.decoded), *before.facts, code_entropy(codes), len(np.unique(codes)))
    return *picture.codes.shape, pack_codes(codes.astype(np.uint16)), *quality


def _ahead(pool: ThreadPoolExecutor, run: Callable[[T], ResultT], items: Iterable[T], most: int) -> Iterator[ResultT]:
    """Results in order, `most` of them made before they are asked for."""
    waiting: deque[Future[ResultT]] = deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=1)
def _load(folder: Path) -> MAGVITv2:
    return load_magvit(folder).to(compute_device())
