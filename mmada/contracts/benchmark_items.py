"""Held-out items of one registered benchmark: the table that evaluation asks and curation guards against.

A benchmark's folder holds `items.parquet` with this schema and, where items show a picture,
`pictures.parquet` with the schema contracts.records.PICTURES.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.contracts.tables import read_table

BENCHMARK_ITEMS: Final[Schema] = {
    "item_id": pl.String,  # unique within the benchmark
    "benchmark": pl.String,  # key of params.benchmarks
    "kind": pl.String,  # "reasoning", "vqa" or "pictures"
    "prompt": pl.String,  # the question, or the drawing prompt
    "reference": pl.String,  # gold final answer, "" for drawing prompts
    "category": pl.String,  # question type or GenEval-like category, "" if none
    "spec": pl.String,  # pictures.PictureSpec as JSON for drawing prompts, "" otherwise
    "image_sha256": pl.String,  # sha256 of the picture file's bytes, "" if none
    "pixels_sha256": pl.String,  # of the decoded pixels (records.PICTURES), "" if none
}


def read_items(folders: Mapping[str, Path]) -> pl.DataFrame:
    """Items (BENCHMARK_ITEMS) of all benchmarks, by key. Raises as contracts.tables.read_table."""
    tables = [
        read_table(folder / "items.parquet", BENCHMARK_ITEMS, f"benchmark {key}") for key, folder in folders.items()
    ]
    return pl.concat([pl.DataFrame(schema=pl.Schema(BENCHMARK_ITEMS)), *tables])
