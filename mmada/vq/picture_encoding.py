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
from jaxtyping import Float, Int

from mmada.contracts.code_packing import pack_codes
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.tables import to_parquet
from mmada.errors import ParamsError
from mmada.numerics import compute_device, numerics_class
from mmada.vq.image_quality import code_entropy, pixel_std, psnr, structure, to_picture
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

    The next pictures are decoded in threads while the network has these, so that it never waits for files.
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
    rows: list[tuple[object, ...]] = []

    def prepare(data: bytes) -> Float[np.ndarray, "3 R R"]:
        picture = decode_picture(data, max_pixels=task.max_pixels)
        return preprocess(picture, size=(task.resolution, task.resolution), policy=task.crop_policy)

    with ThreadPoolExecutor() as pool:
        prepared = _ahead(pool, prepare, task.pictures["bytes"])
        while batch := list(islice(prepared, _BATCH)):
            done = names[len(rows) : len(rows) + len(batch)]
            rows += [own + facts for own, facts in zip(done, _encode(model, np.stack(batch)), strict=True)]
    return to_parquet(pl.DataFrame(rows, schema=pl.Schema(IMAGE_CODES), orient="row"), IMAGE_CODES)


def _encode(model: MAGVITv2, pixels: Float[np.ndarray, "B 3 R R"]) -> Iterator[tuple[object, ...]]:
    """Columns of IMAGE_CODES after the first two, picture by picture."""
    codes: Int[np.ndarray, "B N"] = model.encode(torch.from_numpy(pixels)).cpu().numpy()
    side = pixels.shape[-1] // model.sizes.factor
    decoded = to_uint8(model.decode(torch.from_numpy(codes), height=side, width=side))
    for own, before, after in zip(codes, pixels, decoded, strict=True):
        original = to_picture(before)
        packed = pack_codes(own.astype(np.uint16))
        of_pixels = (pixel_std(original), structure(original), lost_share(original))
        yield side, side, packed, psnr(original, after), *of_pixels, code_entropy(own), len(np.unique(own))


def _ahead(pool: ThreadPoolExecutor, run: Callable[[T], ResultT], items: Iterable[T]) -> Iterator[ResultT]:
    """Results in order, a bounded number of them made before they are asked for."""
    waiting: deque[Future[ResultT]] = deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > _DECODED_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=1)
def _load(folder: Path) -> MAGVITv2:
    return load_magvit(folder).to(compute_device())
