"""Where one shard ends and the next begins: decided by the samples around the place, so that a change stays local."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from mmada.shards.order import hash64


def cut(keys: Sequence[str], samples_per_shard: int) -> list[slice]:
    """Runs of `keys`, one for each shard: about `samples_per_shard` samples, at most four times as many.

    A shard begins at every key whose hash is the smallest among its neighbours within half a shard on either side.
    So a sample that comes or goes moves only boundaries within half a shard of it; every other run, and hence the
    bytes of its shard, stays. But for the ends, no shard is smaller than half of `samples_per_shard`.
    """
    if not keys:
        return []
    near = samples_per_shard // 2
    hashes = pl.Series([hash64(key) for key in keys], dtype=pl.UInt64)
    smallest = hashes.rolling_min(2 * near + 1, min_samples=1, center=True)
    starts = sorted({0, *np.flatnonzero((hashes == smallest).to_numpy()).tolist()})
    most = 4 * samples_per_shard
    return [
        slice(start, min(start + most, end))
        for first, end in pairwise([*starts, len(keys)])
        for start in range(first, end, most)
    ]
