"""Read samples of a set of shards by key, through the index that was written with them."""

import tarfile
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import ORIGIN, Schema
from mmada.contracts.sample import Sample, unpack
from mmada.contracts.tables import read_table
from mmada.errors import ContractError
from mmada.lineage.manifest import Artifact, open_artifact

INDEX_NAME: Final = "rows.parquet"
_BLOCK: Final = 512

# One line per sample: where it lies, and the raw rows that it stands for.
INDEX: Final[Schema] = {
    "key": pl.String,
    "corpus": pl.String,
    "task": pl.String,
    "shard": pl.String,
    "offset": pl.Int64,
    "length": pl.Int64,
    "row_id": pl.String,
    "origins": pl.List(ORIGIN),
}


@dataclass
class ShardReader:
    """Samples of a shard folder. Opening it re-hashes every shard, so a changed one is refused before step one."""

    artifact: Artifact
    index: pl.DataFrame
    _places: dict[str, tuple[str, int, int]] = field(init=False, repr=False)
    _streams: dict[str, BufferedReader] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        rows = self.index.select("key", "shard", "offset", "length").iter_rows()
        self._places = {key: (shard, offset, length) for key, shard, offset, length in rows}

    @classmethod
    def open(cls, folder: Path) -> "ShardReader":
        """Shards of `folder`. Raises InputError when there are none, IntegrityError when bytes have changed."""
        artifact = open_artifact(folder)
        return cls(artifact, read_table(folder / INDEX_NAME, INDEX, "shard index"))

    def keys(self) -> dict[str, list[str]]:
        """Corpus -> keys of its samples."""
        grouped = self.index.group_by("corpus", maintain_order=True).agg("key")
        return dict(grouped.iter_rows())

    def sample(self, key: str) -> Sample:
        """The sample with this key, read from its shard."""
        if key not in self._places:
            raise ContractError(f"{self.artifact.path} has no sample {key}")
        shard, offset, length = self._places[key]
        if shard not in self._streams:
            self._streams[shard] = (self.artifact.path / shard).open("rb")
        stream = self._streams[shard]
        stream.seek(offset)
        return unpack(key, _members(stream.read(length), key, f"{shard} at byte {offset}"))


def _members(data: bytes, key: str, where: str) -> dict[str, bytes]:
    members = {}
    position = 0
    while position < len(data):
        try:
            info = tarfile.TarInfo.frombuf(data[position : position + _BLOCK], "ascii", "strict")
        except tarfile.HeaderError as error:
            raise ContractError(f"{where}: no tar header where the index says ({error})") from None
        stem, _, extension = info.name.partition(".")
        if stem != key:
            raise ContractError(f"{where}: member {info.name!r} where the index says {key!r}")
        members[extension] = data[position + _BLOCK : position + _BLOCK + info.size]
        position += _BLOCK + info.size + -info.size % _BLOCK
    return members
