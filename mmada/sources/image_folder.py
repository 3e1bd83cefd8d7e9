"""Folders of pictures with a table that says what they show: JSON lines, or CSV/TSV with a header (by its
suffix).
"""

import csv
import io
import re
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


class _Tsv(csv.excel_tab):
    quoting = csv.QUOTE_NONE


_LONGEST_QUOTATION: Final = 1 << 20
"""Bytes; a quotation mark that opens a longer one is a character like any other."""
_OPENING: Final = re.compile(rb'(?:^|,)"')
_TO_THE_CLOSING: Final = re.compile(rb'(?:[^"]++|"")*+"')


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
    for row, content in enumerate(_rows(header, data, separator, span.rows)):
        yield RawRow(row, content)


def _rows(header: bytes, data: bytes, separator: str, count: int) -> Sequence[object]:
    """So many rows of whole lines below a header; where they are no such table together, each by itself."""
    try:
        table = _table(header + data, separator)
        if table.height == count:
            return table.rows(named=True)
        problem = f"{table.height} rows where {count} are"
    except PolarsError as error:
        problem = str(error)
    if count > 1:
        ends = _row_ends(io.BytesIO(data), separator)
        return [row for begin, end in pairwise([0, *ends]) for row in _rows(header, data[begin:end], separator, 1)]
    return [_alone(header, data, separator, problem)]


def _table(data: bytes, separator: str) -> pl.DataFrame:
    quote = '"' if separator == "," else None  # in TSV a quotation mark is a character like any other
    return pl.read_csv(io.BytesIO(data), separator=separator, quote_char=quote, infer_schema=False)


def _alone(header: bytes, data: bytes, separator: str, problem: str) -> object:
    """A row that polars refuses; a quotation mark within one of its fields is a character like any other."""
    try:
        (values,) = csv.reader([data.decode()], dialect=csv.excel if separator == "," else _Tsv)
        return {name: value or None for name, value in zip(_table(header, separator).columns, values, strict=True)}
    except (ValueError, csv.Error, PolarsError):
        return Defect("malformed_row", problem[:200], excerpt(data))


def _row_ends(stream: BinaryIO, separator: str) -> Iterator[int]:
    """Offsets at which rows end, from where the stream stands."""
    begin = position = stream.tell()
    inside: list[int] = []  # ends of the lines within the quotation that is open, if one is
    while line := stream.readline(_LONGEST_QUOTATION):
        is_open = separator == "," and _is_open_after(line, is_open=bool(inside))
        if is_open is None or position - begin >= _LONGEST_QUOTATION:  # it is no quotation: each line is a row
            yield from inside
            begin, is_open = position, _is_open_after(line, is_open=False)
            inside.clear()
        position += len(line)
        if line.endswith(b"\n"):
            inside.append(position)
        if not is_open and inside:
            yield position
            begin = position
            inside.clear()
    yield from inside
    if position > (inside[-1] if inside else begin):
        yield position


def _is_open_after(line: bytes, *, is_open: bool) -> bool | None:
    """Whether a quotation is open at the end of a line. One opens where a field begins and closes where one ends; None
    if that which was open at the beginning of the line closes nowhere.
    """
    position, opened = 0, -1
    while is_open or b'"' in line:
        found = _TO_THE_CLOSING.match(line, position) if is_open else _OPENING.search(line, position)
        if found is None:
            return is_open
        position, is_open = found.end(), not is_open
        if is_open:
            opened = position
        elif line[position : position + 1] not in (b",", b"\r", b"\n", b""):
            if opened < 0:
                return None
            position = opened
    return False


def _separator(file: RawFile) -> str | None:
    return _SEPARATORS.get(PurePosixPath(file.name).suffix.lower())
