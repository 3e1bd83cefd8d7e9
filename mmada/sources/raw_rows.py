"""What every adapter speaks: limits, spans of a raw file, and rows that are read or found defective.

An adapter is two functions. `split` cuts a file into spans of bounded size, each with the digest of what it
holds, so that a span is read once for ever; `read` gives the rows of one span. A row that cannot be read is
a row with a defect: nothing an adapter meets in a file may raise, hang or vanish.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from mmada.sources.raw_files import RawFile

EXCERPT: Final = 200
"""Characters of a dropped row that are kept for people."""

SPAN_BYTES: Final = 32 << 20
"""A span ends after so many bytes even if it holds few rows; it bounds the memory of a worker."""


@dataclass(frozen=True)
class Limits:
    """What one raw row may cost, and how many rows a span may hold."""

    max_row_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_json_depth: int
    rows_per_unit: int


@dataclass(frozen=True)
class Span:
    """A run of rows of one file. `start` and `stop` are in the adapter's own units (bytes, table rows,
    shards).

    `digest` covers all that reading the span depends on, its place in the file excepted.
    """

    file: RawFile
    start: int
    stop: int
    first_row: int
    rows: int
    digest: str


@dataclass(frozen=True)
class Defect:
    """Why a row is dropped: the reason (a word of the drop ledger), the value that failed, a piece of the
    row.
    """

    reason: str
    value: str
    excerpt: str = ""


class RawRow(NamedTuple):
    """One row of a span. `row` counts from 0 within the span; `content` is what was parsed, or the defect.

    Content is an object (name -> value), a list, or whatever else stood there; columns are looked up in it
    later.
    """

    row: int
    content: object


def no_texts(span: Span, limits: Limits, columns: Collection[str]) -> dict[str, list[str]] | None:
    """What an adapter says that can only read whole rows."""
    return None


@dataclass(frozen=True)
class Adapter:
    """How a format is read.

    `columns`: our field -> the adapter's column, where the corpus declares none. `response`: what the format
    does to a response before it is one. `texts`: the texts of some columns of all rows, where that is faster than
    `read`; None unless all rows that the span counts are objects with a text in each of these columns.
    """

    split: Callable[[RawFile, Limits], Iterator[Span]]
    read: Callable[[Span, Limits], Iterator[RawRow]]
    columns: tuple[tuple[str, str], ...] = ()
    response: Callable[[str], str] = str
    texts: Callable[[Span, Limits, Collection[str]], dict[str, list[str]] | None] = no_texts


def excerpt(data: bytes) -> str:
    """The beginning of a row as text, whatever its bytes are."""
    return data[: 4 * EXCERPT].decode("utf-8", "replace")[:EXCERPT]
