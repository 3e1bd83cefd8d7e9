"""Write samples into USTAR shards: equal samples give equal bytes, on any day and machine.

`webdataset.ShardWriter` stamps the time into every member; here all header fields but name and size are fixed.
"""

import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmada.contracts.sample import Sample, pack

BLOCK: Final = 512
# Of a member's header: its name, the octal digits of its size, the checksum.
NAME: Final = slice(0, 100)
SIZE: Final = slice(124, 135)
CHECKSUM: Final = slice(148, 156)
END_OF_TAR: Final = bytes(2 * BLOCK)


@dataclass(frozen=True)
class ShardEntry:
    """Where a sample lies: `length` bytes of whole members from byte `offset` of a shard, and their checksum."""

    key: str
    offset: int
    length: int
    crc32: int


def write_shard(path: Path, samples: Iterable[Sample]) -> list[ShardEntry]:
    """Write `samples` in their order to the tar at `path`; returns where each one lies."""
    entries = []
    offset = 0
    with path.open("wb") as stream:
        for sample in samples:
            data = _members(sample)
            stream.write(data)
            entries.append(ShardEntry(sample.key, offset, len(data), zlib.crc32(data)))
            offset += len(data)
        stream.write(END_OF_TAR)
    return entries


def _members(sample: Sample) -> bytes:
    parts = []
    for extension, data in pack(sample).items():
        parts += [header(f"{sample.key}.{extension}", len(data)), data, bytes(-len(data) % BLOCK)]
    return b"".join(parts)


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's data."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
