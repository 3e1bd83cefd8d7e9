"""Batches are a pure function of the step: for any number of workers and processes, from any step on."""

import hashlib
import random
from multiprocessing import active_children
from pathlib import Path

import pytest

from mmada.lineage.manifest import write_manifest
from mmada.shards.loader import Drawn, Loader
from mmada.shards.mixture import drawn_counts
from mmada.shards.order import Order
from mmada.shards.reader import ShardReader
from tests.shards.made import make_sample, write_part

WEIGHTS = {"captions": 3.0, "drawings": 1.0}
STEPS = 40


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    folder = tmp_path_factory.mktemp("shards")
    for corpus in WEIGHTS:
        for part in range(3):
            samples = [make_sample(20 * part + number, corpus=corpus) for number in range(20)]
            write_part(folder, f"{corpus}-{part}.tar", samples)
    write_manifest(folder, stage="write_shards", version=1, metadata={})
    return ShardReader.open(folder)


def _order(reader: ShardReader, seed: int = 5) -> Order:
    return Order(reader.keys(), WEIGHTS, 16, seed)


def _digest(drawn: Drawn) -> str:
    digest = hashlib.sha256()
    for sample, epoch in drawn:
        assert sample.codes is not None
        digest.update(f"{epoch} {sample.key} {sample.prompt}".encode() + sample.codes.tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def expected(reader: ShardReader) -> list[str]:
    loader = Loader(reader, _order(reader), STEPS)
    return [_digest(loader.batch(step)) for step in range(STEPS)]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_change_nothing(reader: ShardReader, expected: list[str], workers: int) -> None:
    loader = Loader(reader, _order(reader), STEPS, workers)
    assert [_digest(loader.batch(step)) for step in range(STEPS)] == expected


def test_a_batch_is_what_the_order_picks(reader: ShardReader) -> None:
    drawn = Loader(reader, _order(reader), STEPS, workers=1).batch(9)
    picks = _order(reader).batch(9)
    assert [(sample.corpus, sample.key, epoch) for sample, epoch in drawn] == [
        (pick.corpus, pick.key, pick.epoch) for pick in picks
    ]


def test_any_stop_point_continues_the_same(reader: ShardReader, expected: list[str]) -> None:
    rng = random.Random(1)
    for stop in [rng.randrange(STEPS) for _ in range(200)]:
        resumed = Loader(reader, _order(reader), STEPS)
        assert [_digest(resumed.batch(step)) for step in range(stop, min(stop + 3, STEPS))] == expected[stop : stop + 3]


@pytest.mark.parametrize(("workers", "stop"), [(1, 7), (2, 39), (3, 20)])
def test_a_run_with_workers_continues_the_same_and_may_go_back(
    reader: ShardReader, expected: list[str], workers: int, stop: int
) -> None:
    loader = Loader(reader, _order(reader), STEPS, workers)
    assert [_digest(loader.batch(step)) for step in range(stop, STEPS)] == expected[stop:]
    assert [_digest(loader.batch(step)) for step in (3, 4)] == expected[3:5]


def test_workers_end_with_their_loader(reader: ShardReader) -> None:
    """With the last reference to it: left to garbage collection, each would be waited for in vain for 5 s."""
    before = set(active_children())
    loader = Loader(reader, _order(reader), STEPS, workers=2)
    loader.batch(0)
    loader.batch(9)  # goes on elsewhere with others
    assert len(set(active_children()) - before) == 2
    del loader
    assert set(active_children()) == before


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_lose_and_repeat_nothing_of_a_batch_and_read_only_their_share(
    reader: ShardReader, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Saved at 4 processes, resumed at 3 after a stop: rows are dealt out of one and the same global batch."""
    read: list[str] = []
    members = ShardReader.members
    monkeypatch.setattr(ShardReader, "members", lambda self, keys: read.extend(keys) or members(self, keys))
    alone = Loader(reader, _order(reader), STEPS)
    for steps, world in ((range(11), 4), (range(11, 30), 3)):
        loaders = [Loader(reader, _order(reader), STEPS, workers, rank, world) for rank in range(world)]
        for step in steps:
            read.clear()
            shares = [loader.batch(step) for loader in loaders]
            if workers == 0:
                assert read == [sample.key for share in shares for sample, _ in share]
            assert {len(share) for share in shares} <= {16 // world, 16 // world + 1}
            whole = [(sample.key, epoch) for sample, epoch in alone.batch(step)]
            place = whole.index
            assert sorted(place((sample.key, epoch)) for share in shares for sample, epoch in share) == list(range(16))
            assert all(loader.keys(step) == [key for key, _ in whole] for loader in loaders)
            for share in shares:
                assert share == sorted(share, key=lambda pair: place((pair[0].key, pair[1])))


def test_what_takes_long_is_shared_evenly(tmp_path: Path) -> None:
    grids = [4] * 8 + [32] * 8
    samples = [make_sample(number, grid=grid) for number, grid in enumerate(grids)]
    write_part(tmp_path, "captions-0.tar", samples)
    write_manifest(tmp_path, stage="write_shards", version=1, metadata={})
    reader = ShardReader.open(tmp_path)
    order = Order(reader.keys(), {"captions": 1.0}, 16, 1)
    for rank in range(4):
        share = Loader(reader, order, 1, rank=rank, world=4).batch(0)
        assert sorted(sample.codes.size for sample, _ in share) == [16, 16, 1024, 1024]  # type: ignore[union-attr]


def test_the_realised_mixture_is_within_one_of_its_share() -> None:
    for total in (10_000, 123_457):
        counts = drawn_counts(WEIGHTS, total)
        assert all(abs(counts[corpus] - total * weight / 4) <= 1 for corpus, weight in WEIGHTS.items())
