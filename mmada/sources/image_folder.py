"""Folders of pictures with a table that says what they show: JSON lines, or CSV/TSV with a header (by its
suffix).
"""

import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import BinaryIO, Final

import polars as pl
from polars.exceptions import PolarsError

from mmada.sources.json_lines import read_lines, split_lines
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span, excerpt
from mmada.unit_store import unit_key

_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
_BLOCK: Final = 1 << 20


def split_table(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of whole rows; a quoted line break of a CSV ends none."""
    separator = _separator(file)
    if separator is None:
        yield from split_lines(file, limits)
        return
    sha256 = file.sha256()
    first = rows = 0
    with file.open() as stream:
        ends = _row_ends(stream, separator)
        start = stop = next(ends, 0)  # of the header
        for stop in ends:
            rows += 1
            if rows == limits.rows_per_unit or stop - start >= SPAN_BYTES:
                yield Span(file, start, stop, first, rows, unit_key(sha256, start, stop))
                start, first, rows = stop, first + rows, 0
    if rows:
        yield Span(file, start, stop, first, rows, unit_key(sha256, start, stop))


def read_table_rows(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of the table, every value of a CSV as text. A row that fits not into the table is a defect of its own."""
    separator = _separator(span.file)
    if separator is None:
        yield from read_lines(span, limits)
        return
    with span.file.open() as stream:
        header_end = next(_row_ends(stream, separator))
        stream.seek(0)
        header = stream.read(header_end)
        stream.seek(span.start)
        data = stream.read(min(span.stop - span.start, 2 * SPAN_BYTES))
    if len(data) < span.stop - span.start:
        yield RawRow(0, Defect("row_too_long", f"{span.stop - span.start} bytes", excerpt(data)))
        return
    for row, content in enumerate(_rows(header, data, separator)):
        yield RawRow(row, content)


def _rows(header: bytes, data: bytes, separator: str) -> Sequence[object]:
    """The rows of whole lines below a header; where they are no table together, each by itself."""
    quote = '"' if separator == "," else None  # in TSV a quotation mark is a character like any other
    try:
        table = pl.read_csv(io.BytesIO(header + data), separator=separator, quote_char=quote, infer_schema=False)
        return table.rows(named=True)
    except PolarsError as error:
        ends = list(_row_ends(io.BytesIO(data), separator))
        if len(ends) < 2:
            return [Defect("malformed_row", str(error)[:200], excerpt(data))]
        return [row for begin, end in pairwise([0, *ends]) for row in _rows(header, data[begin:end], separator)]


def _row_ends(stream: BinaryIO, separator: str) -> Iterator[int]:
    """Offsets at which rows end, from where the stream stands. A quotation that never closes ends with its span."""
    begin = position = stream.tell()
    is_quoted = False
    while line := stream.readline(_BLOCK):
        position += len(line)
        is_quoted ^= separator == "," and line.count(b'"') % 2 == 1
        if line.endswith(b"\n") and (not is_quoted or position - begin >= SPAN_BYTES):
            yield position
            begin, is_quoted = position, False
    if position > begin:
        yield position


def _separator(file: RawFile) -> str | None:
    return _SEPARATORS.get(PurePosixPath(file.name).suffix)
