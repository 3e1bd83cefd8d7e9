"""Shards of an object store: through a bounded cache, whole or by the sample; faults and damage are met."""

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmada.errors import InputError, IntegrityError, ParamsError
from mmada.lineage.manifest import read_artifact
from mmada.shards.index import index_parts
from mmada.shards.loader import Loader
from mmada.shards.order import Order
from mmada.shards.reader import ShardReader
from mmada.storage import Storage, open_storage
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.services import S3Server
from tests.shards.made import make_sample, write_set

SAMPLES = [make_sample(number) for number in range(60)]
KEYS = [sample.key for sample in SAMPLES]


@dataclass(frozen=True)
class Remote:
    """A set of shards on a store behind the proxy; `store` writes without it."""

    url: str
    store: Storage
    proxy: FaultyProxy

    def flip(self, name: str, place: int) -> None:
        """Change a bit of an object, or change it back."""
        data = bytearray(self.store.read(name))
        data[place] ^= 1
        self.store.write(name, bytes(data))


@pytest.fixture
def remote(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    url = s3_server.make_bucket(f"bucket-{uuid.uuid4().hex[:8]}") + "/shards"
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    store = open_storage(url)
    for path in write_set(tmp_path / "local", SAMPLES, 10).path.iterdir():
        store.write(path.name, path.read_bytes())
    with faulty_proxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield Remote(url, store, proxy)


def _tars(reader: ShardReader) -> list[str]:
    """sha256 of every shard."""
    return [sha256 for name, sha256 in read_artifact(reader.folder).files.items() if name.endswith(".tar")]


def _held(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*.tar"))


def test_a_shard_is_fetched_once_and_kept_by_its_sha256(remote: Remote, tmp_path: Path) -> None:
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    remote.proxy.requests.clear()
    assert [sample.prompt for sample in reader.samples(KEYS)] == [sample.prompt for sample in SAMPLES]
    fetched = remote.proxy.requests["GET"]
    assert fetched == len(_tars(reader))
    again = ShardReader.open(remote.url, cache=tmp_path / "cache")
    remote.proxy.requests.clear()
    again.samples(KEYS)
    assert remote.proxy.requests["GET"] == 0
    assert _held(tmp_path / "cache") == sorted(f"{sha256}.tar" for sha256 in _tars(reader))


def test_a_set_beyond_the_limit_is_read_by_the_sample(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMADA_SHARD_CACHE_GB", "0.00002")
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    remote.proxy.requests.clear()
    assert [sample.prompt for sample in reader.samples(KEYS[:5])] == [sample.prompt for sample in SAMPLES[:5]]
    assert remote.proxy.requests["GET"] == 5
    assert _held(tmp_path / "cache") == []


def test_the_cache_stays_within_its_limit_and_drops_what_was_opened_longest_ago(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    reader = ShardReader.open(remote.url, cache=cache)
    sizes = [size for name, size in read_artifact(reader.folder).sizes.items() if name.endswith(".tar")]
    monkeypatch.setenv("MMADA_SHARD_CACHE_GB", str((sum(sizes) + 3000) / 1e9))
    cache.mkdir(exist_ok=True)
    for name in ("old", "older"):
        (cache / f"{name}.tar").write_bytes(bytes(2000))
    reader.samples(KEYS)
    assert len(_held(cache)) >= len(sizes)
    assert sum(path.stat().st_size for path in cache.glob("*.tar")) <= sum(sizes) + 3000
    assert "old.tar" not in _held(cache) or "older.tar" not in _held(cache)
    for wrong in ("much", "inf"):
        monkeypatch.setenv("MMADA_SHARD_CACHE_GB", wrong)
        with pytest.raises(ParamsError, match=f"MMADA_SHARD_CACHE_GB is '{wrong}'"):
            ShardReader.open(remote.url, cache=cache)


def test_what_a_kill_left_of_a_shard_goes_when_it_is_fetched_again(remote: Remote, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    reader = ShardReader.open(remote.url, cache=cache)
    (cache / f".{_tars(reader)[0]}.tar.0badcafe.partial").write_bytes(b"half")
    reader.fetch()
    assert len(_held(cache)) == len(_tars(reader))
    assert not list(cache.glob(".*"))


def test_a_clock_that_went_back_keeps_no_shard_out_of_the_cache(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    reader = ShardReader.open(remote.url, cache=cache)
    limit = sum(read_artifact(reader.folder).sizes.values())
    monkeypatch.setenv("MMADA_SHARD_CACHE_GB", str(limit / 1e9))
    cache.mkdir(exist_ok=True)
    (cache / "another.tar").write_bytes(bytes(limit))
    os.utime(cache / "another.tar", (time.time() + 1000,) * 2)
    remote.proxy.requests.clear()
    assert [sample.prompt for sample in reader.samples(KEYS)] == [sample.prompt for sample in SAMPLES]
    assert remote.proxy.requests["GET"] <= 2 * len(_tars(reader))


@pytest.mark.parametrize("limit", ["50", "0.00002"])
def test_refused_and_truncated_answers_give_no_bad_sample(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("MMADA_SHARD_CACHE_GB", limit)
    remote.proxy.every = 5
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    order = Order(reader.keys(), {"captions": 1.0}, 10, 1)
    drawn = [pair for step in range(6) for pair in Loader(reader, order, 6).batch(step)]
    by_key = {sample.key: sample for sample in SAMPLES}
    assert {sample.key for sample, _ in drawn} == set(KEYS)
    for sample, _ in drawn:
        assert sample.prompt == by_key[sample.key].prompt
        assert (sample.codes == by_key[sample.key].codes).all()  # type: ignore[union-attr]
    assert remote.proxy.requests["refused"] > 0
    assert remote.proxy.requests["cut"] > 0


def test_workers_fetch_with_connections_of_their_own(remote: Remote, tmp_path: Path) -> None:
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    reader.sample(KEYS[0])
    order = Order(reader.keys(), {"captions": 1.0}, 10, 1)
    loader = Loader(reader, order, 6, workers=2)
    alone = Loader(reader, order, 6)
    for step in range(6):
        assert [sample.key for sample, _ in loader.batch(step)] == [sample.key for sample, _ in alone.batch(step)]


@pytest.mark.parametrize("limit", ["50", "0.00002"])
def test_a_damaged_shard_is_fetched_again_once_then_named(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("MMADA_SHARD_CACHE_GB", limit)
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    key, shard, offset = reader.index.select("key", "shard", "offset").row(12)
    remote.flip(shard, offset + 600)
    remote.proxy.requests.clear()
    with pytest.raises(IntegrityError, match=f"{shard} is damaged.*{key} at byte {offset}.*again"):
        reader.sample(key)
    assert remote.proxy.requests["GET"] == 2
    assert ((tmp_path / "cache" / "quarantine" / shard).exists()) == (limit == "50")
    assert shard not in _held(tmp_path / "cache")
    remote.flip(shard, offset + 600)
    assert reader.sample(key).key == key, "a mended object is read"


def test_a_damaged_file_of_the_cache_is_fetched_again(remote: Remote, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    reader = ShardReader.open(remote.url, cache=cache)
    reader.samples(KEYS)
    for path in cache.glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    assert [sample.prompt for sample in reader.samples(KEYS)] == [sample.prompt for sample in SAMPLES]


def test_a_damaged_part_of_the_index_in_the_cache_is_fetched_again(remote: Remote, tmp_path: Path) -> None:
    reader = ShardReader.open(remote.url, cache=tmp_path / "cache")
    parts = index_parts(reader.folder)
    whole = [part.read_bytes() for part in parts]
    for part, data in zip(parts, whole, strict=True):
        part.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    assert ShardReader.open(remote.url, cache=tmp_path / "cache").index.equals(reader.index)
    assert [part.read_bytes() for part in parts] == whole


def test_what_is_no_set_of_shards_is_refused(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json does not exist"):
        ShardReader.open(remote.url + "-not", cache=tmp_path / "cache")
    name = next(remote.store.names("rows-"))
    remote.flip(name, 30)
    with pytest.raises(IntegrityError, match=name):
        ShardReader.open(remote.url, cache=tmp_path / "cache")
