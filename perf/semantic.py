"""Semantic duplicates: every pair of 50,000 embeddings of 256 numbers, beside the plain product of blocks."""

import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from mmada.curation.semantic_duplicates import semantic_duplicates
from mmada.unit_store import UnitStore

ROWS, DIMENSIONS, FLOOR = 50_000, 256, 0.9


def bench_semantic() -> dict[str, float]:
    """Ours reads the file, verifies and stores; the peer only multiplies and counts."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((ROWS // 4, DIMENSIONS))
    noise = rng.uniform(0, 0.5, (ROWS, 1)) * rng.standard_normal((ROWS, DIMENSIONS))
    vectors = (centres[rng.integers(len(centres), size=ROWS)] + noise).astype(np.float32)
    rows = pl.DataFrame({"row_id": [f"{number:08d}" for number in range(ROWS)]}).with_columns(task=pl.lit("chat"))
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "embeddings.parquet"
        rows.select("row_id", embedding=pl.Series(vectors)).write_parquet(file)
        started = time.perf_counter()
        found = semantic_duplicates(file, rows, floor=FLOOR, store=UnitStore(Path(name) / "units"))
        seconds = time.perf_counter() - started
    started = time.perf_counter()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = -ROWS
    for start in range(0, ROWS, 1000):
        pairs += int((unit[start : start + 1000] @ unit.T >= FLOOR).sum())
    peer_seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
        "pairs": found.pairs.height,
        "pairs_of_peer": pairs // 2,
    }
