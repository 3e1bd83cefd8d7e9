"""Parquet tables, read by row groups in small batches, so that memory is bounded also where one group is huge."""

from collections.abc import Collection, Iterable, Iterator
from io import BufferedReader
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmada.sources.forward_reading import read_forward
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key

BATCH_ROWS: Final = 64
"""Table rows that are Python objects at one time."""

BROKEN: Final = (pa.ArrowException, EOFError, OSError, ValueError, OverflowError, MemoryError)
"""What Arrow raises on bytes that are not what they say, and on times that Python has no value for."""

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
        for batch in _batches(span):
            for content in batch_rows(batch):
                yield RawRow(row, content)
                row += 1
        if row < span.rows:
            raise pa.ArrowInvalid(f"{span.rows} rows are promised and {row} are there")
    except BROKEN as error:
        yield RawRow(row, Defect("malformed_file", f"no readable parquet: {error}"[:200]))


def parquet_texts(span: Span, limits: Limits, columns: Collection[str]) -> dict[str, list[str]] | None:
    """Some columns of a span (see raw_rows.Adapter) without an object for every other value.

    What the file says of itself is asked first: a row group that was begun in vain would be decoded anew for its rows.
    """
    try:
        with span.file.open() as stream:
            if not _promises_texts(_open(stream), span.start, columns):
                return None
        return batch_texts(_batches(span), columns, span.rows)
    except BROKEN:
        return None


def batch_rows(batch: pa.RecordBatch) -> Iterator[object]:
    """The rows of a batch, values as Python's; one whose values are not what the schema says is a defect of its own.

    Raises what is in BROKEN when the batch as a whole does not hold together.
    """
    _check(batch)
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


def batch_texts(batches: Iterable[pa.RecordBatch], columns: Collection[str], rows: int) -> dict[str, list[str]] | None:
    """Texts of some columns of all `rows` rows of the batches; None where a value is no text, or where `batch_rows` may
    find a defect.

    Raises what is in BROKEN.
    """
    texts: dict[str, list[str]] = {column: [] for column in columns}
    is_plain = None
    for batch in batches:
        is_plain = _is_plain(batch.schema, columns) if is_plain is None else is_plain
        if not is_plain:
            return None
        _check(batch)
        batch.validate(full=True)
        for column, values in texts.items():
            own = batch.column(column)
            if own.null_count:
                return None
            values += own.to_pylist()
    return texts if {len(values) for values in texts.values()} == {rows} else None


def _is_plain(schema: pa.Schema, columns: Collection[str]) -> bool:
    """Whether there are texts in these columns, and nothing in the others that Python may have no value for."""
    if not all(map(_has_a_value_for_all_bytes, schema.types)):
        return False
    kinds = [schema.field(column).type for column in columns if schema.names.count(column) == 1]
    return len(kinds) == len(columns) and all(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds
    )


def _has_a_value_for_all_bytes(kind: pa.DataType) -> bool:
    """Whether Python has a value for whatever a valid column of this type holds: not so for times, for example."""
    nested = [kind.field(number).type for number in range(kind.num_fields)]
    if nested:
        return (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind)) and all(
            map(_has_a_value_for_all_bytes, nested)
        )
    return any(check(kind) for check in _PLAIN_TYPES)


_PLAIN_TYPES: Final = (
    *(pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null),
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary),
)


def _check(batch: pa.RecordBatch) -> None:
    batch.validate()
    if batch.num_rows > 8 * batch.nbytes + BATCH_ROWS:  # a column of type null has any number of rows in no bytes
        raise pa.ArrowInvalid(f"{batch.num_rows} rows in {batch.nbytes} bytes")


def _values(batch: pa.RecordBatch) -> list[dict[str, object]]:
    batch.validate(full=True)  # else bytes that are no offsets are followed out of memory
    rows: list[dict[str, object]] = batch.to_pylist()
    return rows


def _open(stream: BufferedReader) -> pq.ParquetFile:
    return pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)


def _group_of(metadata: pq.FileMetaData, row: int) -> tuple[int, int]:
    """Number and first row of the row group that holds a row."""
    group = first = 0
    while first + metadata.row_group(group).num_rows <= row:
        first += metadata.row_group(group).num_rows
        group += 1
    return group, first


def _promises_texts(table: pq.ParquetFile, row: int, columns: Collection[str]) -> bool:
    """Whether the row group that holds a row has, by schema and statistics, a text in each row of these columns."""
    if not _is_plain(table.schema_arrow, columns):
        return False
    group = table.metadata.row_group(_group_of(table.metadata, row)[0])
    for column in map(group.column, range(group.num_columns)):
        if column.path_in_schema in columns and column.statistics is not None and column.statistics.null_count:
            return False
    return True


class _RowGroup:
    """The row group of a file that holds a row, in batches."""

    def __init__(self, file: RawFile, row: int) -> None:
        self._stream = file.open()
        table = _open(self._stream)
        group, self.position = _group_of(table.metadata, row)
        self.end = self.position + table.metadata.row_group(group).num_rows
        self._batches = table.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False)
        self._rest: pa.RecordBatch | None = None

    def read(self, stop: int) -> Iterator[pa.RecordBatch]:
        while self.position < stop and (batch := self._rest or next(self._batches, None)) is not None:
            own = batch.slice(0, stop - self.position)
            self._rest = batch.slice(own.num_rows) if own.num_rows < batch.num_rows else None
            self.position += own.num_rows
            yield own

    def close(self) -> None:
        self._stream.close()


def _batches(span: Span) -> Iterator[pa.RecordBatch]:
    """Rows of a span, which lie in one row group."""
    return read_forward(span, "parquet", _RowGroup)
