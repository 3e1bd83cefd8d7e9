"""The certificate of decontamination: what was searched for, in which rows, and every match."""

from collections.abc import Iterable, Mapping

import polars as pl

from mmada.contracts.records import rows_digest
from mmada.curation.decontaminate import BenchmarkIndex


def certificate(
    index: BenchmarkIndex,
    matches: pl.DataFrame,
    row_ids: Iterable[pl.Series],
    *,
    benchmarks: Mapping[str, str],
    containment: float,
) -> dict[str, object]:
    """What annotate writes as certificate.json, and write_shards beside the shards.

    Equal inputs give an equal certificate, whatever their order.

    row_ids: of all rows that were searched, in parts; benchmarks: key -> id of its items.
    """
    searched = pl.concat([pl.Series(dtype=pl.String), *row_ids]).unique()
    return {
        "index": index.digest,
        "ngram": index.ngram,
        "containment": containment,
        "benchmarks": dict(benchmarks),
        "items": dict(index.items.group_by("benchmark").len().sort("benchmark").iter_rows()),
        "rows_searched": searched.len(),
        "rows_sha256": rows_digest(searched),
        "matches": matches.rows(named=True),
    }
