"""Shards: reproducible bytes, readable by index and by the plain webdataset library, damage is noticed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import webdataset

from mmada.contracts.sample import Sample, unpack
from mmada.errors import ContractError, IntegrityError
from mmada.shards.reader import ShardReader
from tests.shards.made import make_sample, write_set

SAMPLES = [make_sample(number) for number in range(40)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_set(tmp_path / "shards", SAMPLES, 10)
    return tmp_path / "shards"


def _same(one: Sample, other: Sample) -> bool:
    plain = (msgspec.structs.replace(sample, codes=None) for sample in (one, other))
    return next(plain) == next(plain) and np.array_equal(one.codes, other.codes)  # type: ignore[arg-type]


def test_reader_returns_what_was_written(shards: Path) -> None:
    reader = ShardReader.open(shards)
    assert sorted(reader.keys()["captions"]) == sorted(sample.key for sample in SAMPLES)
    keys = [sample.key for sample in reversed(SAMPLES)]
    assert all(_same(one, other) for one, other in zip(reader.samples(keys), reversed(SAMPLES), strict=True))
    with pytest.raises(ContractError, match="no sample nothing"):
        reader.sample("nothing")


def test_equal_samples_give_equal_bytes(shards: Path, tmp_path: Path) -> None:
    again = write_set(tmp_path / "elsewhere" / "again", [make_sample(number) for number in range(40)], 10)
    for name in again.files:
        assert (again.path / name).read_bytes() == (shards / name).read_bytes()


def test_the_plain_webdataset_library_reads_the_same_samples(shards: Path) -> None:
    tars = sorted(str(path) for path in shards.glob("*.tar"))
    assert len(tars) > 2
    found = {item["__key__"]: item for item in webdataset.WebDataset(tars, shardshuffle=False)}
    assert found.keys() == {sample.key for sample in SAMPLES}
    for sample in SAMPLES:
        item = found[sample.key]
        assert _same(unpack(sample.key, {"json": item["json"], "codes": item["codes"]}), sample)


@pytest.mark.parametrize("position", [0, 700, -600])
def test_a_flipped_bit_is_refused_when_shards_are_opened(shards: Path, position: int) -> None:
    path = next(shards.glob("*.tar"))
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=path.name):
        ShardReader.open(shards)


def test_any_bit_flipped_after_opening_is_caught_when_the_sample_is_read(shards: Path) -> None:
    reader = ShardReader.open(shards)
    key, shard, offset, length = reader.index.select("key", "shard", "offset", "length").row(17)
    whole = (shards / shard).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(8 * offset, 8 * (offset + length), 200):
        data = bytearray(whole)
        data[place // 8] ^= 1 << (place % 8)
        (shards / shard).write_bytes(data)
        with pytest.raises(IntegrityError, match=f"{shard} is damaged.*sample {key} at byte {offset}.*dvc checkout"):
            reader.sample(key)


def test_a_shard_that_is_restored_reads_on(shards: Path, tmp_path: Path) -> None:
    reader = ShardReader.open(shards)
    key, shard = reader.index.select("key", "shard").row(3)
    expected = reader.sample(key)
    copy = shutil.copy(shards / shard, tmp_path / "copy")
    (shards / shard).write_bytes(b"")
    with pytest.raises(IntegrityError, match=shard):
        reader.sample(key)
    Path(copy).replace(shards / shard)
    assert _same(reader.sample(key), expected)


def test_only_what_is_asked_for_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader.open(shards)
    read: list[int] = []
    plain: Callable[[str, int, int], bytes] = reader.files.read

    def counted(shard: str, offset: int, length: int) -> bytes:
        read.append(length)
        return plain(shard, offset, length)

    monkeypatch.setattr(type(reader.files), "read", lambda self, *place: counted(*place))
    keys = reader.index["key"].to_list()[5:9]
    reader.samples(keys)
    assert read == reader.index["length"].to_list()[5:9]
