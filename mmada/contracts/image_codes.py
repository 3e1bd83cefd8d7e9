"""The token table: every distinct picture once, as 13-bit codes with facts of its quality.

It has a folder per corpus with a part `codes-*.parquet` for each part of pictures that ingest made, less the pictures
that an earlier part has, and an index `index-*.parquet` for each part of rows.
"""

from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.contracts.tables import read_tables

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
    "code_entropy": pl.Float64,  # bits per code within the picture
    "codes_used": pl.Int64,  # distinct codes within the picture
}

CODE_INDEX: Final[Schema] = {
    "row_id": pl.String,
    "image_sha256": pl.String,
    "part": pl.String,  # file below the token table's folder that holds the codes of the row's picture
    "position": pl.Int64,  # row in that file
}


def read_codes(folder: Path) -> pl.DataFrame:
    """The whole token table (IMAGE_CODES). Raises as contracts.tables.read_table."""
    tables = [read_tables(corpus, "codes", IMAGE_CODES, "token table") for corpus in sorted(folder.glob("*/"))]
    return pl.concat([pl.DataFrame(schema=pl.Schema(IMAGE_CODES)), *tables])


def read_code_facts(folder: Path) -> pl.DataFrame:
    """The token table without the codes, which are nearly all of its bytes."""
    paths = sorted(folder.glob("*/codes-*.parquet"))
    schema = pl.Schema({name: kind for name, kind in IMAGE_CODES.items() if name != "codes"})
    return pl.read_parquet(paths, columns=schema.names()) if paths else pl.DataFrame(schema=schema)
