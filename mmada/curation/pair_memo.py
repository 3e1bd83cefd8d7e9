"""Pairs of things that a store remembers: two are compared once for good, whatever is added later."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.contracts.records import Schema
from mmada.contracts.tables import all_from_parquet, to_parquet
from mmada.unit_store import UnitStore
from mmada.workers import LateUnit, run_units

T = TypeVar("T")

_PAIR: Final = ["left", "right"]


def with_similarity(
    pairs: pl.DataFrame,
    units: Callable[[NDArray[np.int64]], Iterable[LateUnit[T]]],
    compare: Callable[[T], bytes],
    memo: UnitStore,
    *,
    title: str,
) -> pl.DataFrame:
    """`pairs` (left, right: keys of two things) with `similarity`, in any order.

    `units` makes the work for the pairs at these positions: those that `memo`, a store that holds nothing else, lacks;
    `compare` does a unit of it, and gives `compared` of its pairs.
    """
    schema = _schema(pairs)
    known = all_from_parquet((result for _, result in memo.results()), schema)
    missing = pairs.with_row_index().join(known, on=_PAIR, how="anti")["index"].to_numpy()
    new = all_from_parquet(run_units(list(units(missing)), compare, memo, title=title), schema)
    return pairs.join(pl.concat([known, new]).unique(_PAIR), on=_PAIR)


def compared(pairs: pl.DataFrame, similarity: NDArray[np.float64]) -> bytes:
    """Result of a unit: its pairs (left, right) and the similarity [K] of each."""
    return to_parquet(pairs.with_columns(similarity=pl.Series(similarity)), _schema(pairs))


def _schema(pairs: pl.DataFrame) -> Schema:
    return {**{name: pairs.schema[name] for name in _PAIR}, "similarity": pl.Float64}
