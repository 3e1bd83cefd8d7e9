"""Arrow tables as files or streams of record batches, as `datasets.save_to_disk` and polars write them.

Both are one run of messages: a schema, dictionaries, batches. The file format puts a mark before and an index after it;
a span of such a table is a run of batches by their numbers. Where there is no index, in a stream or in a file that was
cut off, a span is cut between messages. So reading one costs its own bytes.
"""

import io
from collections.abc import Collection, Iterator
from io import BufferedReader
from typing import Final

import pyarrow as pa

from mmada.sources.parquet import BROKEN, batch_rows, batch_texts
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key

_FILE_MARK: Final = b"ARROW1\0\0"


def split_arrow(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of whole record batches; where the file is broken, the last span meets the break and reports it."""
    sha256, size = file.sha256(), file.size
    start = first = rows = num_bytes = 0
    try:
        with file.open() as stream:
            index = _index(stream)
            start = stop = 0 if index else _body(stream) + len(_head(stream))
            size = index.num_record_batches if index else size
            for batch, end, is_tied in _numbered(index) if index else _in_turn(stream):
                is_full = rows + batch.num_rows > limits.rows_per_unit or num_bytes >= SPAN_BYTES
                if rows and is_full and not is_tied:
                    yield Span(file, start, stop, first, rows, unit_key(sha256, start, stop))
                    start, first, rows, num_bytes = stop, first + rows, 0, 0
                rows, num_bytes, stop = rows + batch.num_rows, num_bytes + batch.nbytes, end
    except BROKEN:
        pass
    yield Span(file, start, size, first, rows, unit_key(sha256, start, size))


def read_arrow(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span, values as Python's."""
    row = 0
    try:
        for batch in _batches(span):
            for content in batch_rows(batch):
                yield RawRow(row, content)
                row += 1
    except BROKEN as error:
        yield RawRow(row, Defect("malformed_file", f"no readable Arrow table: {error}"[:200]))


def arrow_texts(span: Span, limits: Limits, columns: Collection[str]) -> dict[str, list[str]] | None:
    """Some columns of a span (see raw_rows.Adapter) without an object for every other value."""
    try:
        return batch_texts(_batches(span), columns, span.rows)
    except BROKEN:
        return None


def _batches(span: Span) -> Iterator[pa.RecordBatch]:
    with span.file.open() as stream:
        if (index := _index(stream)) is not None:
            yield from map(index.get_batch, range(span.start, span.stop))
            return
        part = io.BufferedReader(_Part(_head(stream), stream, span.start, span.stop))
        with pa.ipc.open_stream(pa.PythonFile(part, mode="r")) as table:
            yield from table


def _index(stream: BufferedReader) -> pa.RecordBatchFileReader | None:
    """The table by its index, None where there is none. Some writers, as polars, put no readable schema before it."""
    if _body(stream) == 0:
        return None
    try:
        return pa.ipc.open_file(pa.PythonFile(stream, mode="r"))
    except BROKEN:  # cut off: what lies before that can be read in turn
        return None


def _numbered(index: pa.RecordBatchFileReader) -> Iterator[tuple[pa.RecordBatch, int, bool]]:
    """Every batch, the number of the next one, and whether it is tied to the batches before it (never so)."""
    for number in range(index.num_record_batches):
        yield index.get_batch(number), number + 1, False


def _in_turn(stream: BufferedReader) -> Iterator[tuple[pa.RecordBatch, int, bool]]:
    """Every batch, where the next one begins, and whether it is tied to the batches before it."""
    stream.seek(_body(stream))
    with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as table:
        for batch in table:
            # A dictionary that changes between batches ties all that follows to what came before.
            yield batch, stream.tell(), table.stats.num_replaced_dictionaries + table.stats.num_dictionary_deltas > 0


class _Part(io.RawIOBase):
    """The head of a table, then bytes [start, stop) of it: a table of its own."""

    def __init__(self, head: bytes, stream: BufferedReader, start: int, stop: int) -> None:
        stream.seek(start)
        self._head, self._stream, self._left = io.BytesIO(head), stream, stop - start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        read = self._head.readinto(buffer)
        if not read:
            read = self._stream.readinto(memoryview(buffer)[: self._left])
            self._left -= read
        return read


def _body(stream: BufferedReader) -> int:
    """Offset of the first message."""
    stream.seek(0)
    return len(_FILE_MARK) if stream.read(len(_FILE_MARK)) == _FILE_MARK else 0


def _head(stream: BufferedReader) -> bytes:
    """Bytes of the messages before the first batch: the schema and the first dictionaries."""
    begin = end = stream.seek(_body(stream))
    messages = pa.PythonFile(stream, mode="r")
    try:
        while pa.ipc.read_message(messages).type != "record batch":
            end = stream.tell()
    except EOFError:  # a table without rows
        pass
    stream.seek(begin)
    return stream.read(end - begin)
