"""The index of a set of shards: where each sample lies, its checksum, and the raw rows that it stands for.

Each shard has its part, so that shards that stay leave their part as it is too: a set that grows by a sample changes
one shard and one part.
"""

import zlib
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import ORIGIN, Schema
from mmada.contracts.tables import read_table, read_tables

INDEX_PREFIX: Final = "rows"

INDEX: Final[Schema] = {
    "key": pl.String,
    "corpus": pl.String,
    "task": pl.String,
    "shard": pl.String,
    "offset": pl.Int64,  # of the sample's first tar header
    "length": pl.Int64,  # of its whole members, a multiple of 512
    "crc32": pl.UInt32,  # of these bytes
    "row_id": pl.String,
    "origins": pl.List(ORIGIN),
}


def index_name(shard: str) -> str:
    """Name of the part of the index that belongs to a shard."""
    return f"{INDEX_PREFIX}-{shard.removesuffix('.tar')}.parquet"


def index_parts(folder: Path) -> list[Path]:
    """Files of the parts of the index, in order of the shards' names."""
    return sorted(folder.glob(f"{INDEX_PREFIX}-*.parquet"))


def read_index(folder: Path) -> pl.DataFrame:
    """All parts of the index (INDEX), in order of the shards' names. Raises ContractError when one is no such table."""
    return read_tables(folder, INDEX_PREFIX, INDEX, "shard index")


def first_damage(data: bytes, folder: Path, shard: str) -> str:
    """Where a shard with these bytes is damaged first, by its part of the index in `folder`; for people."""
    part = read_table(folder / index_name(shard), INDEX, "shard index")
    for key, offset, length, crc32 in part.select("key", "offset", "length", "crc32").iter_rows():
        if zlib.crc32(data[offset : offset + length]) != crc32:
            return f"the first damaged sample is {key} at byte {offset}"
    return "no sample of it is damaged, but its end is"
