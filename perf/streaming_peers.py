"""MosaicML streaming and LitData on the samples of a set of shards; prints samples per second as JSON.

`python perf/streaming_peers.py FOLDER` runs in an environment of its own (`pip install mosaicml-streaming litdata`) and
imports nothing of this project. Both write the members of the samples as they are, and read them in their own order,
shuffled, with two workers: what comes out is held to no checksum and not decoded.
"""

import gc
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

BATCH = 512


def main() -> None:
    """Those of the two that are installed."""
    samples = list(_samples(Path(sys.argv[1])))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for peer, measure in (("mosaicml_streaming", _streaming), ("litdata", _litdata)):
            try:
                found |= {f"{kind}_{peer}": rate for kind, rate in measure(samples, Path(name) / peer).items()}
            except ImportError as error:
                sys.stderr.write(f"{peer} is left out: {error}\n")
    sys.stdout.write(json.dumps(found) + "\n")


def _samples(folder: Path) -> Iterator[dict[str, bytes]]:
    for path in sorted(folder.glob("*.tar")):
        sample: dict[str, bytes] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                assert stream is not None
                sample[member.name.partition(".")[2]] = stream.read()
                if len(sample) == 2:
                    yield sample
                    sample = {}


def _streaming(samples: list[dict[str, bytes]], folder: Path) -> dict[str, float]:
    from streaming import MDSWriter, StreamingDataset

    with MDSWriter(out=str(folder), columns={"codes": "bytes", "json": "bytes"}) as writer:
        for sample in samples:
            writer.write(sample)

    def open_one() -> Any:
        return StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)

    return _rates(open_one, lambda data, workers: DataLoader(data, BATCH, num_workers=workers, collate_fn=list))


def _litdata(samples: list[dict[str, bytes]], folder: Path) -> dict[str, float]:
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_bytes="16MB")
    for number, sample in enumerate(samples):
        cache[number] = sample
    cache.done()
    cache.merge()

    def open_one() -> Any:
        return StreamingDataset(str(folder), shuffle=True)

    return _rates(
        open_one,
        lambda data, workers: StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=list),
    )


def _rates(open_one: Callable[[], Any], load: Callable[[Any, int], Iterable[list[Any]]]) -> dict[str, float]:
    """Samples per second without workers, and with two, of the processor time of all processes."""
    started = time.process_time()
    count = sum(1 for _ in open_one())
    alone = count / (time.process_time() - started)
    began = sum(os.times()[:4])
    count = sum(len(batch) for batch in load(open_one(), 2))
    gc.collect()
    return {"samples": alone, "collated_2_workers": count / (sum(os.times()[:4]) - began)}


if __name__ == "__main__":
    main()
