"""Parquet tables, read in slices."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from mmada.lineage.manifest import file_sha256
from mmada.sources.raw_rows import Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key


def split_parquet(file: Path, limits: Limits) -> Iterator[Span]:
    """Spans of table rows; a file that is no parquet is one span, whose one row has the defect."""
    sha256 = file_sha256(file)
    try:
        rows = int(pl.scan_parquet(file).select(pl.len()).collect().item())
    except (PolarsError, OSError):
        yield Span(file, 0, 0, 0, 1, sha256)
        return
    for start in range(0, rows, limits.rows_per_unit):
        count = min(limits.rows_per_unit, rows - start)
        yield Span(file, start, start + count, start, count, unit_key(sha256, start))


def read_parquet(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a slice; values are Python's (a picture column may hold bytes or Hugging Face's {bytes,
    path}).
    """
    try:
        table = pl.scan_parquet(span.file).slice(span.start, max(1, span.stop - span.start)).collect()
    except (PolarsError, OSError) as error:
        yield RawRow(0, Defect("malformed_file", f"no readable parquet: {error}"[:200]))
        return
    for row, fields in enumerate(table.iter_rows(named=True)):
        yield RawRow(row, fields)
