"""Write samples into USTAR shards: equal samples give equal bytes, on any day and machine.

`webdataset.ShardWriter` stamps the time into every member; here all header fields but name and size are fixed.
"""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmada.contracts.sample import Sample, pack

_BLOCK: Final = 512
_END_OF_TAR: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class ShardEntry:
    """Where a sample lies: `length` bytes of whole members from byte `offset` of a shard."""

    key: str
    offset: int
    length: int


def write_shard(path: Path, samples: Iterable[Sample]) -> list[ShardEntry]:
    """Write `samples` in their order to the tar at `path`; returns where each one lies."""
    entries = []
    with path.open("wb") as stream:
        for sample in samples:
            offset = stream.tell()
            for extension, data in pack(sample).items():
                stream.write(_header(f"{sample.key}.{extension}", len(data)))
                stream.write(data)
                stream.write(bytes(-len(data) % _BLOCK))
            entries.append(ShardEntry(sample.key, offset, stream.tell() - offset))
        stream.write(_END_OF_TAR)
    return entries


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
