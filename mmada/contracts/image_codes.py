"""The token table: every distinct picture once, as 13-bit codes with facts of its quality.

It has a folder per corpus with a part `codes-*.parquet` for each part of pictures that ingest made, less the pictures
that an earlier part has, and an index `index-*.parquet` for each part of rows.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.contracts.tables import only_wanted, scan_columns

IMAGE_CODES: Final[Schema] = {
    "image_sha256": pl.String,
    "pixels_sha256": pl.String,
    "grid_rows": pl.Int64,
    "grid_columns": pl.Int64,
    "codes": pl.Binary,  # code_packing.pack_codes, row-major
    "psnr": pl.Float64,  # dB, reconstruction against the preprocessed picture
    # Of the preprocessed picture, as vq.image_quality and vq.lost_parts define them:
    "pixel_std": pl.Float64,  # standard deviation of its pixels in [0, 255], margins left out; 0 = one flat colour
    "structure": pl.Float64,  # share of their variance in large shapes, rows or columns; 0 = noise
    "lost_share": pl.Float64,  # share of the picture in a rectangle of one colour that is no part of it; 0 = whole
    # Of the file's picture, upright:
    "blur": pl.Float64,  # share of the differences between neighbours that one more blur leaves; 0 = sharp
    "image_side": pl.Int64,  # the shorter side in pixels
    "image_aspect": pl.Float64,  # the longer side by the shorter one
    # Of the codes:
    "code_entropy": pl.Float64,  # bits per code within the picture
    "codes_used": pl.Int64,  # distinct codes within the picture
}

CODE_INDEX: Final[Schema] = {
    "row_id": pl.String,
    "image_sha256": pl.String,
    "part": pl.String,  # file below the token table's folder that holds the codes of the row's picture
    "position": pl.Int64,  # row in that file
}


def read_codes(folder: Path, *, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """The token table (IMAGE_CODES): of the pictures whose sha256 is wanted, or of all. Raises as
    contracts.tables.scan_columns.
    """
    table = scan_columns(_parts(folder), IMAGE_CODES, list(IMAGE_CODES), "token table")
    return only_wanted(table, "image_sha256", wanted).collect()


def read_code_facts(folder: Path) -> pl.DataFrame:
    """The token table without the codes, which are nearly all of its bytes."""
    columns = [name for name in IMAGE_CODES if name != "codes"]
    return scan_columns(_parts(folder), IMAGE_CODES, columns, "token table").collect()


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/codes-*.parquet"))
