"""Folders of pictures with a table that says what they show: JSON lines, or CSV/TSV with a header (by its
suffix).
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl
from polars.exceptions import PolarsError

from mmada.sources.json_rows import read_lines, split_lines
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Defect, Limits, RawRow, Span

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def split_table(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of JSON lines; a CSV table, which quotes line breaks, is one span."""
    if _separator(file):
        yield Span(file, 0, file.size, 0, 0, file.sha256())
    else:
        yield from split_lines(file, limits)


def read_table_rows(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of the table, every value of a CSV as text."""
    separator = _separator(span.file)
    if separator is None:
        yield from read_lines(span, limits)
        return
    quote = '"' if separator == "," else None  # in TSV a quotation mark is a character like any other
    try:
        with span.file.open() as stream:
            table = pl.read_csv(stream, separator=separator, quote_char=quote, infer_schema=False)
    except (PolarsError, OSError) as error:
        yield RawRow(0, Defect("malformed_file", f"no readable table: {error}"[:200]))
        return
    for row, fields in enumerate(table.iter_rows(named=True)):
        yield RawRow(row, fields)


def _separator(file: RawFile) -> str | None:
    return _SEPARATORS.get(PurePosixPath(file.name).suffix)
