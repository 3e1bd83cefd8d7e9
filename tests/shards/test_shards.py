"""Shards: reproducible bytes, readable by index and by the plain webdataset library, damage is noticed."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import webdataset

from mmada.contracts.sample import Sample, sample_key, unpack
from mmada.contracts.tables import write_table
from mmada.errors import IntegrityError
from mmada.lineage.manifest import write_manifest
from mmada.shards.reader import INDEX, INDEX_NAME, ShardReader
from mmada.shards.writer import write_shard

NAME = "captions-000000.tar"


def _samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    out = []
    for number in range(20):
        row_id = hashlib.sha256(str(number).encode()).hexdigest()
        codes = rng.integers(0, 8192, (4, 4)).astype(np.uint16)
        out.append(
            Sample(
                sample_key(row_id, "t2i", 0),
                "t2i",
                f"prompt {number}",
                "",
                "",
                "captions",
                "s",
                "l",
                row_id,
                codes,
            )
        )
    return out


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    samples = _samples()
    entries = write_shard(folder / NAME, samples)
    table = pl.DataFrame(
        [
            {
                "key": sample.key,
                "corpus": sample.corpus,
                "task": sample.task,
                "shard": NAME,
                "offset": entry.offset,
                "length": entry.length,
                "row_id": sample.row_id,
                "origins": [{"corpus": "captions", "source_file": "f", "file_sha256": "0", "row": 1}],
            }
            for sample, entry in zip(samples, entries, strict=True)
        ],
        schema=pl.Schema(INDEX),
    )
    write_table(table, folder / INDEX_NAME, INDEX)
    write_manifest(folder, stage="write_shards", version=1, metadata={})
    return folder


def test_reader_returns_what_was_written(shards: Path) -> None:
    reader = ShardReader.open(shards)
    for sample in reversed(_samples()):
        again = reader.sample(sample.key)
        assert again.prompt == sample.prompt
        np.testing.assert_array_equal(again.codes, sample.codes)


def test_equal_samples_give_equal_bytes(shards: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "again.tar", _samples())
    assert (tmp_path / "again.tar").read_bytes() == (shards / NAME).read_bytes()


def test_the_plain_webdataset_library_reads_them(shards: Path) -> None:
    found = {item["__key__"]: item for item in webdataset.WebDataset(str(shards / NAME), shardshuffle=False)}
    assert list(found) == [sample.key for sample in _samples()]
    for sample in _samples():
        item = found[sample.key]
        assert unpack(sample.key, {"json": item["json"], "codes": item["codes"]}).prompt == sample.prompt


@pytest.mark.parametrize("position", [0, 700, -600])
def test_a_flipped_bit_is_refused_before_reading(shards: Path, position: int) -> None:
    data = bytearray((shards / NAME).read_bytes())
    data[position] ^= 1
    (shards / NAME).write_bytes(data)
    with pytest.raises(IntegrityError, match=NAME):
        ShardReader.open(shards)
