"""The certificate of decontamination: what was searched for, in which rows, and every match."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from mmada.curation.decontaminate import BenchmarkIndex

_HASHED_AT_A_TIME: Final = 100_000


def certificate(
    index: BenchmarkIndex,
    matches: pl.DataFrame,
    row_ids: Iterable[pl.Series],
    *,
    benchmarks: Mapping[str, str],
    containment: float,
) -> dict[str, object]:
    """What annotate writes as certificate.json; equal inputs give an equal certificate, whatever their order.

    row_ids: of all rows that were searched, in parts; benchmarks: key -> id of its items.
    """
    searched = pl.concat([pl.Series(dtype=pl.String), *row_ids]).unique().sort()
    digest = hashlib.sha256()
    for part in searched.to_frame("row_id").iter_slices(_HASHED_AT_A_TIME):
        digest.update("".join(f"{row_id}\n" for row_id in part["row_id"]).encode())
    return {
        "index": index.digest,
        "ngram": index.ngram,
        "containment": containment,
        "benchmarks": dict(benchmarks),
        "items": dict(index.items.group_by("benchmark").len().sort("benchmark").iter_rows()),
        "rows_searched": searched.len(),
        "rows_sha256": digest.hexdigest(),
        "matches": matches.rows(named=True),
    }
