"""Sets of shards for tests."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from mmada.contracts.sample import Sample, sample_key
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.shards.boundaries import cut
from mmada.shards.index import INDEX, index_name
from mmada.shards.writer import write_shard


def make_sample(number: int, *, corpus: str = "captions", grid: int = 4) -> Sample:
    """A t2i sample that depends on its number alone."""
    row_id = hashlib.sha256(f"{corpus} {number}".encode()).hexdigest()
    codes = np.random.default_rng(number).integers(0, 8192, (grid, grid)).astype(np.uint16)
    return Sample(sample_key(row_id, "t2i", 0), "t2i", f"prompt {number}", "", "", corpus, "s", "l", row_id, codes)


def write_part(folder: Path, shard: str, samples: Sequence[Sample]) -> None:
    """One shard with its part of the index."""
    rows = [
        {name: getattr(sample, name) for name in ("key", "corpus", "task", "row_id")}
        | {"shard": shard, "offset": entry.offset, "length": entry.length, "crc32": entry.crc32, "origins": []}
        for sample, entry in zip(samples, write_shard(folder / shard, samples), strict=True)
    ]
    write_table(pl.DataFrame(rows, schema=pl.Schema(INDEX)), folder / index_name(shard), INDEX)


def write_set(folder: Path, samples: Sequence[Sample], samples_per_shard: int) -> Artifact:
    """Shards of `samples` in their order, cut and named as the stage does."""
    folder.mkdir(parents=True)
    for run in cut([sample.key for sample in samples], samples_per_shard):
        part = samples[run]
        write_part(folder, f"{part[0].corpus}-{part[0].key}.tar", part)
    return write_manifest(folder, stage="write_shards", version=1, metadata={})
