"""Writing and reading of shards beside the plain webdataset library."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import webdataset

from mmada.contracts.sample import Sample, pack, sample_key, unpack
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import write_manifest
from mmada.shards.index import INDEX, index_name
from mmada.shards.reader import ShardReader
from mmada.shards.writer import write_shard

SAMPLES = 5000


def bench_shards() -> dict[str, float]:
    """Samples per second of both, on samples of 1,024 codes and about 300 bytes of text."""
    samples = list(_samples())
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _timed(seconds, "write_ours"):
            entries = write_shard(folder / "ours.tar", samples)
        with _timed(seconds, "write_peer"), webdataset.TarWriter(str(folder / "peer.tar"), mtime=0) as writer:
            for sample in samples:
                writer.write({"__key__": sample.key, **pack(sample)})
        rows = [
            {
                **{name: getattr(sample, name) for name in ("key", "corpus", "task", "row_id")},
                "shard": "ours.tar",
                "offset": entry.offset,
                "length": entry.length,
                "crc32": entry.crc32,
                "origins": [],
            }
            for sample, entry in zip(samples, entries, strict=True)
        ]
        (folder / "peer.tar").rename(folder.parent / f"{folder.name}.tar")
        write_table(
            pl.DataFrame(rows, schema=pl.Schema(INDEX)).select(list(INDEX)), folder / index_name("ours.tar"), INDEX
        )
        write_manifest(folder, stage="perf", version=1, metadata={})
        reader = ShardReader.open(folder)
        with _timed(seconds, "read_ours"):
            for sample in samples:
                reader.sample(sample.key)
        peer = folder.parent / f"{folder.name}.tar"
        with _timed(seconds, "read_peer"):
            for item in webdataset.WebDataset(str(peer), shardshuffle=False):
                unpack(item["__key__"], {"json": item["json"], "codes": item["codes"]})
        peer.unlink()
    rates = {f"{name}_samples_per_s": SAMPLES / value for name, value in seconds.items()}
    return {
        **rates,
        "write_ratio": seconds["write_peer"] / seconds["write_ours"],
        "read_ratio": seconds["read_peer"] / seconds["read_ours"],
    }


def _samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for number in range(SAMPLES):
        row_id = hashlib.sha256(str(number).encode()).hexdigest()
        codes = rng.integers(0, 8192, (32, 32)).astype(np.uint16)
        key = sample_key(row_id, "t2i", 0)
        yield Sample(key, "t2i", "a picture of something " * 8, "", "", "c", "s", "l", row_id, codes)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
