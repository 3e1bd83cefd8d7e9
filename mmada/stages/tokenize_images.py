"""Encode every distinct picture once: 13-bit codes and facts of their quality."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch

from mmada.contracts.code_packing import pack_codes
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.records import PICTURES
from mmada.contracts.tables import read_tables, write_table
from mmada.lineage.manifest import open_artifact
from mmada.numerics import compute_device, numerics_class
from mmada.params_data import Corpus, Ingest, Vq
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.image_quality import code_entropy, pixel_std, psnr, to_picture
from mmada.vq.magvit import MAGVITv2, load_magvit, to_uint8
from mmada.vq.preprocess import Policy, decode_picture, preprocess
from mmada.workers import Unit, run_units

VERSION: Final = 2
OUT: Final = "codes"

_PICTURES_PER_UNIT: Final = 256
# Small pictures give threads too little to do; processes side by side share the machine better.
_THREADS: Final = 1


@dataclass(frozen=True)
class _Payload:
    """Pictures of one unit (image sha256, pixels sha256, file bytes), and how they are to be encoded."""

    pictures: tuple[tuple[str, str, bytes], ...]
    magvit: str
    resolution: int
    crop_policy: Policy
    max_pixels: int


def tokenize_images(
    *, out: Path, paths: Paths, store: UnitStore, corpora: dict[str, Corpus], ingest: Ingest, vq: Vq
) -> StageReport:
    """One row per distinct picture in `codes.parquet`, in order of the pictures' sha256."""
    ingested = {f"ingested {key}": open_artifact(Path(paths.ingested) / key) for key in corpora}
    magvit = open_artifact(Path(paths.magvit))
    tables = [read_tables(artifact.path, "pictures", PICTURES, name) for name, artifact in ingested.items()]
    pictures = pl.concat(tables).unique("image_sha256").sort("image_sha256")
    identity = [magvit.id, vq.resolution, vq.crop_policy, ingest.max_image_pixels, numerics_class(_THREADS)]
    units = [
        Unit(unit_key("tokenize_images", VERSION, identity, [sha for sha, _, _ in payload.pictures]), payload)
        for payload in _payloads(pictures, magvit.path, ingest, vq)
    ]
    results = run_units(units, encode_unit, store, title="tokenize pictures")
    parts = [pl.read_parquet(io.BytesIO(result)) for result in results]
    table = pl.concat([pl.DataFrame(schema=pl.Schema(IMAGE_CODES)), *parts])
    write_table(table, out / "codes.parquet", IMAGE_CODES)
    return StageReport(
        inputs={**ingested, "magvit": magvit},
        rows_in=pictures.height,
        rows_kept=table.height,
        metrics={"mean_psnr": table.get_column("psnr").mean()},
        metadata={"crop_policy": vq.crop_policy, "resolution": vq.resolution, "magvit": magvit.id},
    )


def _payloads(pictures: pl.DataFrame, magvit: Path, ingest: Ingest, vq: Vq) -> Iterator[_Payload]:
    for part in pictures.iter_slices(_PICTURES_PER_UNIT):
        yield _Payload(
            pictures=tuple(part.select("image_sha256", "pixels_sha256", "bytes").iter_rows()),
            magvit=magvit.as_posix(),
            resolution=vq.resolution,
            crop_policy=vq.crop_policy,
            max_pixels=ingest.max_image_pixels,
        )


def encode_unit(payload: _Payload) -> bytes:
    """The rows of one unit as a parquet file."""
    torch.set_num_threads(_THREADS)
    model = _load(payload.magvit)
    size = (payload.resolution, payload.resolution)
    decoded = (decode_picture(data, max_pixels=payload.max_pixels) for _, _, data in payload.pictures)
    pixels = torch.from_numpy(
        np.stack([preprocess(picture, size=size, policy=payload.crop_policy) for picture in decoded])
    )
    codes = model.encode(pixels).cpu()
    side = payload.resolution // model.sizes.factor
    decoded_again = to_uint8(model.decode(codes, height=side, width=side))
    originals = [to_picture(picture) for picture in pixels.numpy()]
    rows = []
    for (image_sha256, pixels_sha256, _), own, original, again in zip(
        payload.pictures, codes.numpy(), originals, decoded_again, strict=True
    ):
        rows.append(
            {
                "image_sha256": image_sha256,
                "pixels_sha256": pixels_sha256,
                "grid_rows": side,
                "grid_columns": side,
                "codes": pack_codes(own.astype(np.uint16)),
                "psnr": psnr(original, again),
                "pixel_std": pixel_std(original),
                "code_entropy": code_entropy(own),
            }
        )
    stream = io.BytesIO()
    pl.DataFrame(rows, schema=pl.Schema(IMAGE_CODES)).write_parquet(stream)
    return stream.getvalue()


@lru_cache(maxsize=1)
def _load(folder: str) -> MAGVITv2:
    return load_magvit(Path(folder)).to(compute_device())
