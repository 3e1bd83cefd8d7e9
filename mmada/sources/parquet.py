"""Parquet tables, read by row groups in small batches, so that memory is bounded also where one group is huge."""

from collections.abc import Iterator
from io import BufferedReader
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key

BATCH_ROWS: Final = 64
"""Table rows that are Python objects at one time."""

BROKEN: Final = (pa.ArrowException, EOFError, OSError, ValueError, MemoryError)
"""What Arrow raises on bytes that are not what they say."""

_READ_BYTES: Final = 1 << 20
_MOST_ROWS: Final = 100_000_000
"""Rows of one row group; a damaged number would be cut into spans for ever."""


def split_parquet(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of rows of one row group each; a file that is no parquet is one span, whose one row has the defect."""
    sha256 = file.sha256()
    try:
        with file.open() as stream:
            metadata = _open(stream).metadata
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            if any(not 0 <= group.num_rows <= _MOST_ROWS for group in groups):
                raise pa.ArrowInvalid("a row group has more rows than any file holds")
    except BROKEN:
        yield Span(file, 0, 0, 0, 1, sha256)
        return
    first = 0
    for group in groups:
        row_bytes = group.total_byte_size // max(1, group.num_rows)
        most = max(1, min(limits.rows_per_unit, SPAN_BYTES // max(1, row_bytes)))
        end = first + group.num_rows
        for start in range(first, end, most):
            stop = min(start + most, end)
            yield Span(file, start, stop, start, stop - start, unit_key(sha256, start, stop))
        first = end


def read_parquet(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span; values are Python's (a picture column may hold bytes or Hugging Face's {bytes, path})."""
    row = 0
    try:
        with span.file.open() as stream:
            for batch in _batches(_open(stream), span.start, span.stop):
                for content in batch_rows(batch):
                    yield RawRow(row, content)
                    row += 1
        if row < span.rows:
            raise pa.ArrowInvalid(f"{span.rows} rows are promised and {row} are there")
    except BROKEN as error:
        yield RawRow(row, Defect("malformed_file", f"no readable parquet: {error}"[:200]))


def batch_rows(batch: pa.RecordBatch) -> Iterator[object]:
    """The rows of a batch, values as Python's; one whose values are not what the schema says is a defect of its own.

    Raises what is in BROKEN when the batch as a whole does not hold together.
    """
    batch.validate()
    if batch.num_rows > 8 * batch.nbytes + BATCH_ROWS:  # a column of type null has any number of rows in no bytes
        raise pa.ArrowInvalid(f"{batch.num_rows} rows in {batch.nbytes} bytes")
    for start in range(0, batch.num_rows, BATCH_ROWS):
        some = batch.slice(start, BATCH_ROWS)
        try:
            rows = _values(some)
        except BROKEN:
            for row in range(some.num_rows):
                try:
                    yield from _values(some.slice(row, 1))
                except BROKEN as error:
                    yield Defect("malformed_row", str(error)[:200])
        else:
            yield from rows


def _values(batch: pa.RecordBatch) -> list[dict[str, object]]:
    batch.validate(full=True)  # else bytes that are no offsets are followed out of memory
    rows: list[dict[str, object]] = batch.to_pylist()
    return rows


def _open(stream: BufferedReader) -> pq.ParquetFile:
    return pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)


def _batches(table: pq.ParquetFile, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Rows [start, stop) of the table, which lie in one row group."""
    group = first = 0
    while first + table.metadata.row_group(group).num_rows <= start:
        first += table.metadata.row_group(group).num_rows
        group += 1
    for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False):
        skipped = max(0, start - first)
        wanted = batch.slice(skipped, max(0, stop - first - skipped))
        first += batch.num_rows
        if wanted.num_rows:
            yield wanted
        if first >= stop:
            return
