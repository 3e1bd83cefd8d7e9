"""The token table: every distinct picture once, as 13-bit codes with facts of its quality."""

from typing import Final

import polars as pl

from mmada.contracts.records import Schema

IMAGE_CODES: Final[Schema] = {
    "image_sha256": pl.String,
    "pixels_sha256": pl.String,
    "grid_rows": pl.Int64,
    "grid_columns": pl.Int64,
    "codes": pl.Binary,  # code_packing.pack_codes, row-major
    "psnr": pl.Float64,  # dB, reconstruction against the preprocessed picture
    "pixel_std": pl.Float64,  # standard deviation of the preprocessed picture in [0, 255]; 0 = one flat colour
    "code_entropy": pl.Float64,  # bits per code within the picture
}
