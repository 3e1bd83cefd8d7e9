"""Read samples of a set of shards by key, through the index that was written with them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mmada.contracts.sample import Sample, unpack
from mmada.errors import ContractError, IntegrityError
from mmada.lineage.manifest import open_artifact
from mmada.shards.index import read_index
from mmada.shards.members import split_members
from mmada.shards.remote_shards import CACHE, open_remote_shards
from mmada.shards.shard_files import LocalShards, ShardFiles


@dataclass
class ShardReader:
    """Samples of a set of shards. Only what is asked for is read, and every sample's checksum is checked at every read.

    `folder`: its manifest and index.
    """

    folder: Path
    index: pl.DataFrame
    files: ShardFiles
    _places: dict[str, tuple[str, int, int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        columns = self.index.select("shard", "offset", "length", "crc32")
        self._places = dict(zip(self.index["key"], columns.iter_rows(), strict=True))

    @classmethod
    def open(cls, place: Path | str, *, cache: Path = CACHE) -> "ShardReader":
        """The shards at `place`: a folder, or s3://bucket/prefix by way of `cache`.

        All files of a folder are re-hashed, so that a changed one is refused before step one; those of an object store
        as they are fetched. Raises InputError when there are none, IntegrityError when bytes have changed.
        """
        if str(place).startswith("s3://"):
            remote = open_remote_shards(str(place), cache)
            return cls(remote.artifact.path, read_index(remote.artifact.path), remote)
        folder = open_artifact(Path(place)).path
        return cls(folder, read_index(folder), LocalShards(folder))

    def fetch(self) -> None:
        """Have all shards here, as far as there is room for them, so that damage shows before anything is read."""
        self.files.prepare([(shard, 0, 0) for shard in self.index["shard"].unique().sort()])

    def keys(self) -> dict[str, list[str]]:
        """Corpus -> keys of its samples."""
        grouped = self.index.group_by("corpus", maintain_order=True).agg("key")
        return dict(grouped.iter_rows())

    def sample(self, key: str) -> Sample:
        """The sample with this key. Raises ContractError when there is none, IntegrityError when it is damaged."""
        return self.samples([key])[0]

    def samples(self, keys: Sequence[str]) -> list[Sample]:
        """The samples with these keys, in their order."""
        return [self.unpacked(key, data) for key, data in zip(keys, self.members(keys), strict=True)]

    def members(self, keys: Sequence[str]) -> list[bytes]:
        """Each sample's bytes in its shard: tar headers and data. What must be fetched is fetched at the same time."""
        places = [self._place(key) for key in keys]
        self.files.prepare([place[:3] for place in places])
        return [self._read(key, *place) for key, place in zip(keys, places, strict=True)]

    def unpacked(self, key: str, members: bytes) -> Sample:
        """The sample with this key, whose bytes these are."""
        return unpack(key, split_members(members, key, self._place(key)[0]))

    @property
    def longest(self) -> int:
        """Bytes of the longest sample in its shard."""
        return max(length for _, _, length, _ in self._places.values())

    def lengths(self, keys: Sequence[str]) -> list[int]:
        """Bytes of the samples with these keys in their shards."""
        return [self._place(key)[2] for key in keys]

    def _read(self, key: str, shard: str, offset: int, length: int, crc32: int) -> bytes:
        for _ in range(2):
            data = self.files.read(shard, offset, length)
            if zlib.crc32(data) == crc32:
                return data
            self.files.renew(shard)
        raise IntegrityError(
            f"{shard} is damaged: the {length} bytes of sample {key} at byte {offset} are not those that were written, "
            f"also when they are read again; {self.files.advice}"
        )

    def _place(self, key: str) -> tuple[str, int, int, int]:
        try:
            return self._places[key]
        except KeyError:
            raise ContractError(f"{self.folder} has no sample {key}") from None
