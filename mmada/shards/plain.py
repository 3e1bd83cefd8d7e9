"""The quick way to know that nothing is wrong with a shard: every byte is as its index and our writer would have it.

What cannot be vouched for here is looked through by `walk`, which is slower and says what is wrong, and where.
"""

import zlib
from typing import Final

import numpy as np
import polars as pl

from mmada.contracts.code_packing import NUM_CODES
from mmada.contracts.sample import KEY_PATTERN, unpack
from mmada.errors import ContractError
from mmada.shards.walk import NAME_BYTES, plain_header
from mmada.shards.writer import BLOCK, END_OF_TAR

_SIZE: Final = slice(124, 135)


def is_plain(shard: str, data: bytes, index: pl.DataFrame) -> bool:
    """Whether a shard with these bytes holds just the samples of its part of the index, each of them sound."""
    if not _index_fits(shard, data, index):
        return False
    pictures = []
    rows = index.select("key", "task", "corpus", "row_id", "offset", "length", "crc32")
    for key, task, corpus, row_id, offset, length, crc32 in rows.iter_rows():
        sample = data[offset : offset + length]
        members = _members(sample, key)
        if zlib.crc32(sample) != crc32 or members is None:
            return False
        try:
            found = unpack(key, members)
        except ContractError:
            return False
        is_told = (found.task, found.corpus, found.row_id) == (task, corpus, row_id) and row_id[:32] == key[:32]
        if not is_told or (found.codes is None) == ("codes" in members):
            return False
        pictures.append(members.get("codes", b""))
    # Looked at together: a call for each would cost more than all else.
    codes = np.frombuffer(b"".join(pictures), "<u2")
    return int(codes.max(initial=0)) < NUM_CODES


def _index_fits(shard: str, data: bytes, index: pl.DataFrame) -> bool:
    """Whether the samples of the index lie one after the other up to the end of the tar, under keys of their own."""
    ends = (index["offset"] + index["length"]).to_list()
    return (
        index["offset"].to_list() == [0, *ends][:-1]
        and data[ends[-1] if ends else 0 :] == END_OF_TAR
        and index["key"].n_unique() == index.height
        and index["key"].str.contains(f"^{KEY_PATTERN}$").all()
        and index["shard"].eq(shard).all()
    )


def _members(sample: bytes, key: str) -> dict[str, bytes] | None:
    """Members of a sample by extension, in their order and to its last byte; None where they are not so."""
    members: dict[str, bytes] = {}
    position = 0
    for extension in ("codes", "json"):
        name = f"{key}.{extension}".encode()
        if not sample.startswith(name, position):
            continue
        try:
            size = int(sample[position + _SIZE.start : position + _SIZE.stop], 8)
        except ValueError:
            return None
        before, after, total = plain_header(size)
        header = name.ljust(NAME_BYTES, b"\0") + before + b"%06o\0 " % (total + sum(name)) + after
        start = position + BLOCK
        position = start + size + -size % BLOCK
        if sample[start - BLOCK : start] != header or sample[start + size : position].strip(b"\0"):
            return None
        members[extension] = sample[start : start + size]
    return members if position == len(sample) else None
