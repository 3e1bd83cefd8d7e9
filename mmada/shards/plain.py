"""The quick way to know that nothing is wrong with a shard: every byte is as its index and our writer would have it.

What cannot be vouched for here is looked through by `walk`, which is slower and says what is wrong, and where.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Int, UInt8
from numpy.lib.stride_tricks import sliding_window_view

from mmada.contracts.code_packing import NUM_CODES
from mmada.contracts.sample import KEY_PATTERN, read_fields
from mmada.errors import ContractError
from mmada.params_section import PICTURE_TASKS
from mmada.shards.writer import BLOCK, CHECKSUM, END_OF_TAR, NAME, SIZE, header

_OCTAL_6: Final = 3 * np.arange(5, -1, -1)
"""By how many bits each of six octal digits is shifted."""


def is_plain(shard: str, data: bytes, index: pl.DataFrame) -> bool:
    """Whether a shard with these bytes holds just the samples of its part of the index, each of them sound."""
    if not _index_fits(shard, data, index):
        return False
    places = _members(data, index)
    if places is None:
        return False
    view = memoryview(data)
    rows = index.select("key", "task", "corpus", "row_id", "offset", "length", "crc32").iter_rows()
    for (key, task, corpus, row_id, offset, length, crc32), (codes, text) in zip(rows, places, strict=True):
        if zlib.crc32(view[offset : offset + length]) != crc32:
            return False
        try:
            found = read_fields(key, data[text], 0 if codes is None else codes.stop - codes.start)
        except ContractError:
            return False
        is_told = (found.task, found.corpus, found.row_id) == (task, corpus, row_id) and row_id[:32] == key[:32]
        if not is_told or (found.grid is None) != (codes is None):
            return False
    # Looked at together: a call for each would cost more than all else.
    pictures = np.frombuffer(b"".join(view[codes] for codes, _ in places if codes is not None), "<u2")
    return int(pictures.max(initial=0)) < NUM_CODES


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


def _members(data: bytes, index: pl.DataFrame) -> list[tuple[slice | None, slice]] | None:
    """Where codes (None: a task without a picture) and text of every sample lie; None unless each sample is just these
    members as our writer puts them.
    """
    blocks = sliding_window_view(np.frombuffer(data, np.uint8), BLOCK)
    keys = index["key"].to_list()
    has_picture = index["task"].is_in(list(PICTURE_TASKS)).to_numpy()
    start = index["offset"].to_numpy().astype(np.int64)
    end = start + index["length"].to_numpy().astype(np.int64)
    of_codes = _sizes(blocks, start[has_picture], [f"{keys[row]}.codes" for row in np.flatnonzero(has_picture)])
    if of_codes is None:
        return None
    codes_bytes = np.zeros_like(start)
    codes_bytes[has_picture] = of_codes
    text = start + np.where(has_picture, BLOCK + _padded(codes_bytes), 0)
    text_bytes = _sizes(blocks, text, [f"{key}.json" for key in keys])
    if text_bytes is None or (text + BLOCK + _padded(text_bytes) != end).any():
        return None
    if not (_pads_with_zeros(blocks, start, codes_bytes) and _pads_with_zeros(blocks, text, text_bytes)):
        return None
    columns = (start + BLOCK, start + BLOCK + codes_bytes, has_picture, text + BLOCK, text + BLOCK + text_bytes)
    return [
        (slice(first, last) if has else None, slice(begin, stop))
        for first, last, has, begin, stop in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _sizes(
    blocks: UInt8[np.ndarray, "B 512"], at: Int[np.ndarray, "n"], names: Sequence[str]
) -> Int[np.ndarray, "n"] | None:
    """Bytes of the members whose headers lie at these bytes; None unless every header is what our writer writes."""
    if (at >= len(blocks)).any():
        return None
    found = blocks[at]
    digits = found[:, SIZE].astype(np.int64) - ord("0")
    if ((digits < 0) | (digits > 7)).any():
        return None
    wanted = np.tile(np.frombuffer(header("", 0), np.uint8), (len(at), 1))
    wanted[:, NAME] = np.array(names, f"S{NAME.stop}").view(np.uint8).reshape(-1, NAME.stop)
    wanted[:, SIZE] = found[:, SIZE]
    wanted[:, CHECKSUM] = ord(" ")  # as which it is summed
    sums = wanted.sum(1, dtype=np.int64)
    wanted[:, CHECKSUM.start : CHECKSUM.start + 6] = (sums[:, None] >> _OCTAL_6 & 7) + ord("0")
    wanted[:, CHECKSUM.start + 6] = 0
    return digits @ 8 ** np.arange(10, -1, -1) if np.array_equal(found, wanted) else None


def _pads_with_zeros(blocks: UInt8[np.ndarray, "B 512"], at: Int[np.ndarray, "n"], sizes: Int[np.ndarray, "n"]) -> bool:
    """Whether the last blocks of members are zero behind their bytes."""
    is_cut = sizes % BLOCK > 0
    last = blocks[(at + _padded(sizes))[is_cut]]
    return not last[np.arange(BLOCK) >= sizes[is_cut, None] % BLOCK].any()


def _padded(sizes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    return -(-sizes // BLOCK) * BLOCK
