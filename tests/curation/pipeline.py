"""The data stages on a small corpus, without a picture tokenizer: a token table is written as it would have
made it.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from PIL import Image

from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.ingested import part_name, read_dropped, read_pictures
from mmada.contracts.records import DROPS
from mmada.contracts.tables import read_table, write_table
from mmada.lineage.manifest import write_manifest
from mmada.params_schema import Params, parse_params
from mmada.stage_runner import run_stage
from mmada.vq.image_quality import blur, pixel_std, structure
from mmada.vq.lost_parts import lost_share

SIZES = {
    "pictures": 150,
    "questions": 300,
    "drawings": 100,
    "problems": 300,
    "texts": 100,
    "heldout_problems": 24,
    "heldout_questions": 24,
    "heldout_prompts": 24,
}
DIRT = {
    "malformed_json": 3,
    "image_truncated": 3,
    "image_mislabelled": 2,
    "row_too_long": 1,
    "duplicate_exact": 10,
    "duplicate_near": 9,
    "answer_wrong": 10,
    "thought_unclosed": 6,
    "thought_loop": 6,
    "contaminated": 9,
}


def small_params(**changes: dict[str, Any]) -> Params:
    """The repository's parameters with the small corpus and `changes` (section -> entries to replace)."""
    raw = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    raw["demo_corpora"]["demo"] |= {"counts": SIZES, "dirt": DIRT}
    for section, entries in changes.items():
        for name, value in entries.items():
            old = raw[section].get(name)
            raw[section][name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return parse_params(raw, "test")


def ingest_all(params: Params) -> None:
    """Everything that annotation reads, for parameters in the current directory."""
    for key in params.corpora:
        run_stage(f"ingest@{key}", params)
    for key in params.benchmarks:
        run_stage(f"benchmark_items@{key}", params)
    run_stage("fit_text_tokenizer", params)
    write_codes(params)


def write_codes(params: Params) -> None:
    """A token table of all ingested pictures with perfect reconstruction."""
    tables = [read_pictures(Path(params.paths.ingested) / key, key) for key in params.corpora]
    pictures = pl.concat(tables).unique("image_sha256").sort("image_sha256")
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures["bytes"]]
    table = pictures.select(
        "image_sha256",
        "pixels_sha256",
        grid_rows=pl.lit(1, pl.Int64),
        grid_columns=pl.lit(1, pl.Int64),
        codes=pl.lit(b"\0\0"),
        psnr=pl.lit(40.0),
        pixel_std=pl.Series(map(pixel_std, pixels), dtype=pl.Float64),
        structure=pl.Series(map(structure, pixels), dtype=pl.Float64),
        lost_share=pl.Series(map(lost_share, pixels), dtype=pl.Float64),
        blur=pl.Series(map(blur, pixels), dtype=pl.Float64),
        image_side=pl.Series([min(picture.shape[:2]) for picture in pixels], dtype=pl.Int64),
        image_aspect=pl.Series([max(picture.shape[:2]) / min(picture.shape[:2]) for picture in pixels]),
        code_entropy=pl.lit(0.0),
        codes_used=pl.lit(1, pl.Int64),
    )
    folder = Path(params.paths.codes)
    write_table(table, folder / "all" / part_name("codes", 0, 0), IMAGE_CODES)
    write_manifest(folder, stage="tokenize_images", version=1, metadata={})


def ledger(params: Params) -> pl.DataFrame:
    """Every dropped row of ingest and selection."""
    unread = [read_dropped(Path(params.paths.ingested) / key, key) for key in params.corpora]
    return pl.concat([*unread, read_table(Path(params.paths.selected) / "dropped.parquet", DROPS, "ledger")])
