"""Writing and reading of shards beside other libraries, on samples of 1,024 codes and about 300 bytes of text.

webdataset is measured in the same process. MosaicML streaming and LitData break this project's environment: they are
measured by `perf/streaming_peers.py` in one of their own, whose interpreter MMADA_PERF_PEERS names.
"""

import gc
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
import webdataset

from mmada.contracts.sample import Sample, pack, unpack
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import write_manifest
from mmada.shards.check import check_shards
from mmada.shards.index import INDEX, index_name
from mmada.shards.loader import Loader
from mmada.shards.order import Order
from mmada.shards.reader import ShardReader
from mmada.shards.writer import write_shard
from tests.shards.made import make_sample

SAMPLES = 20_000
EPOCHS = 5
"""Of reading with workers, which take as long to start as they read an epoch."""
BATCH = 512
SAMPLES_PER_SHARD = 1000
PEERS = Path(__file__).parent / "streaming_peers.py"


def bench_shards() -> dict[str, float]:
    """Samples per second of each; ratios to webdataset and, where they are there, to the streaming libraries."""
    samples = [make_sample(number, grid=32) for number in range(SAMPLES)]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        ours, peer = Path(name) / "ours", Path(name) / "peer.tar"
        found["write_ours"] = _rate(lambda: _write(ours, samples))
        found["write_webdataset"] = _rate(lambda: _write_peer(peer, samples))
        reader = ShardReader.open(ours)
        keys = reader.keys()["captions"]
        found["raw_ours"] = _rate(lambda: reader.members(keys))
        found["samples_ours"] = _rate(lambda: reader.samples(keys))
        found["samples_webdataset"] = _rate(lambda: [_decode(item) for item in _peer(peer)])
        for workers in (0, 1, 2):
            found[f"collated_ours_{workers}_workers"] = _collated(reader, workers)
        found["collated_webdataset_2_workers"] = _collated_peer(sorted(map(str, ours.glob("*.tar"))))
        size = sum(path.stat().st_size for path in ours.glob("*.tar"))
        found["check_mb_per_s"] = size / 1e6 / SAMPLES * _rate(lambda: check_shards(ours), times=1)
        found |= _streaming_peers(ours)
    return found | {
        "write_ratio": found["write_ours"] / found["write_webdataset"],
        "read_ratio": found["samples_ours"] / found["samples_webdataset"],
        "collated_ratio": found["collated_ours_2_workers"] / found["collated_webdataset_2_workers"],
    }


def _rate(work: Callable[[], object], times: int = 3) -> float:
    """Samples per second of processor time, the best of a few times: the machine may have other users."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return SAMPLES / min(seconds)


def _write(folder: Path, samples: list[Sample]) -> None:
    folder.mkdir(exist_ok=True)
    for first in range(0, SAMPLES, SAMPLES_PER_SHARD):
        part, shard = samples[first : first + SAMPLES_PER_SHARD], f"captions-{first:06d}.tar"
        entries = write_shard(folder / shard, part)
        rows = [
            {name: getattr(sample, name) for name in ("key", "corpus", "task", "row_id")}
            | {"shard": shard, "offset": entry.offset, "length": entry.length, "crc32": entry.crc32, "origins": []}
            for sample, entry in zip(part, entries, strict=True)
        ]
        write_table(pl.DataFrame(rows, schema=pl.Schema(INDEX)), folder / index_name(shard), INDEX)
    write_manifest(folder, stage="write_shards", version=1, metadata={})


def _write_peer(path: Path, samples: list[Sample]) -> None:
    with webdataset.TarWriter(str(path), mtime=0) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **pack(sample)})


def _peer(path: Path) -> webdataset.WebDataset:
    return webdataset.WebDataset(str(path), shardshuffle=False)


def _decode(item: dict[str, bytes]) -> Sample:
    return unpack(str(item["__key__"]), {"json": item["json"], "codes": item["codes"]})


def _collated(reader: ShardReader, workers: int) -> float:
    """Samples of some epochs in batches, per second of the processor time of all processes."""
    steps = EPOCHS * SAMPLES // BATCH

    def read() -> list[int]:
        loader = Loader(reader, Order(reader.keys(), {"captions": 1.0}, BATCH, 1), steps, workers)
        return [len(loader.batch(step)) for step in range(steps)]

    return _of_all_processes(read)


def _collated_peer(tars: list[str]) -> float:
    dataset = webdataset.WebDataset(tars, shardshuffle=False).repeat(EPOCHS).map(_decode)
    dataset = dataset.batched(BATCH, collation_fn=list)
    return _of_all_processes(
        lambda: [len(batch) for batch in torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)]
    )


def _of_all_processes(read: Callable[[], list[int]]) -> float:
    """Samples per second of processor time, that of workers included, which ended when they had read all."""
    began = sum(os.times()[:4])
    count = sum(read())
    gc.collect()
    return count / (sum(os.times()[:4]) - began)


def _streaming_peers(folder: Path) -> dict[str, float]:
    python = os.environ.get("MMADA_PERF_PEERS", "")
    if not python:
        return {}
    command = [python, str(PEERS), str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    rates: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return rates
