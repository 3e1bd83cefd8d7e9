"""Pictures that show the same in collections that grow: two are compared once for good, whatever is added later."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.contracts.records import Schema
from mmada.curation.alike_pictures import SKETCH_SIDE, Pairs, Sketches, alike_candidates, similarities
from mmada.curation.pair_memo import compared, with_similarity
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit

VERSION: Final = 1
"""Of the comparison: raise it when equal pictures get another similarity."""

# alike_pictures.sketch of files of pictures.
SKETCHES: Final[Schema] = {"image_sha256": pl.String, "pixels_sha256": pl.String, "sketch": pl.Binary}
_PAIRS_PER_UNIT: Final = 2_000
"""Textured ones take two milliseconds each."""


def near_pictures(sketches: pl.DataFrame, *, floor: float, store: UnitStore) -> pl.DataFrame:
    """PICTURE_PAIRS of all pairs of pictures with a similarity of `floor` or more.

    sketches: SKETCHES of distinct files. Those of equal pixels are compared once and named each. Pairs that were ever
    compared with this store are not compared again.
    """
    names = sketches.group_by("pixels_sha256").agg("image_sha256", pl.col("sketch").first()).sort("pixels_sha256")
    pixels = np.frombuffer(b"".join(names["sketch"]), np.uint8).reshape(-1, SKETCH_SIDE, SKETCH_SIDE, 3)
    pairs = alike_candidates(pixels)
    # The beginning of the sha256: of a million look-alikes every pair is held.
    key = pl.col("pixels_sha256").str.head(16).str.to_integer(base=16, dtype=pl.UInt64)
    keys = names.select(key).to_series().to_numpy()
    wanted = pl.DataFrame({"left": keys[pairs[:, 0]], "right": keys[pairs[:, 1]]})
    memo = store.group(f"alike-{unit_key('alike', VERSION)[:16]}")
    found = with_similarity(wanted, partial(_units, wanted, pixels, pairs), _compare, memo, title="near pictures")
    files = names.select(key=pl.Series(keys, dtype=pl.UInt64), file="image_sha256").explode("file")
    left, right = (files.rename({"key": side, "file": f"{side}_file"}) for side in ("left", "right"))
    named = found.filter(pl.col("similarity") >= floor).join(left, on="left").join(right, on="right")
    return named.select(
        image_sha256=pl.min_horizontal("left_file", "right_file"),
        twin=pl.max_horizontal("left_file", "right_file"),
        similarity="similarity",
    ).sort("image_sha256", "twin")


@dataclass(frozen=True)
class _Comparison:
    """Pictures to compare: `pairs` are positions in `sketches`, and have these keys."""

    sketches: Sketches
    pairs: Pairs
    keys: pl.DataFrame


def _units(
    wanted: pl.DataFrame, sketches: Sketches, pairs: Pairs, missing: NDArray[np.int64]
) -> Iterator[LateUnit[_Comparison]]:
    for start in range(0, missing.size, _PAIRS_PER_UNIT):
        some = missing[start : start + _PAIRS_PER_UNIT]
        keys = wanted[some]
        named = hashlib.sha256(keys.to_numpy().tobytes()).hexdigest()
        yield LateUnit(unit_key(named), partial(_load, sketches, pairs[some], keys))


def _load(sketches: Sketches, pairs: Pairs, keys: pl.DataFrame) -> _Comparison:
    involved, positions = np.unique(pairs, return_inverse=True)
    return _Comparison(sketches[involved], positions.reshape(pairs.shape), keys)


def _compare(task: _Comparison) -> bytes:
    return compared(task.keys, similarities(task.sketches, task.pairs))
