"""JSON lines: one value a line, cut at byte offsets without being parsed, so that memory is bounded by a row."""

import hashlib
import re
from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from mmada.sources.json_values import BLOCK, SPACE, parse_json
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span, excerpt


def split_lines(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of whole lines; also a line of many gigabytes is passed over block by block."""
    start = position = first = ended = 0  # `ended`: lines of this span whose end was met
    inside = False  # a line has begun and not ended
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(BLOCK):
            begin = 0
            inside = not block.endswith(b"\n")
            while begin < len(block):
                more = limits.rows_per_unit - ended
                stop, lines, is_end = _span_end(block, begin, more, SPAN_BYTES - (position - start))
                ended += lines
                digest.update(memoryview(block)[begin:stop])
                position, begin = position + stop - begin, stop
                if is_end:
                    yield Span(file, start, position, first, ended, digest.hexdigest())
                    start, first, ended, digest = position, first + ended, 0, hashlib.sha256()
    if position > start:
        yield Span(file, start, position, first, ended + inside, digest.hexdigest())


def _span_end(block: bytes, begin: int, lines: int, size: int) -> tuple[int, int, bool]:
    """How far a span goes in this block that takes so many more lines, or so many more bytes and the rest of their
    line; how many lines end there; whether the span does.
    """
    by_size = block.find(b"\n", begin + max(0, size - 1))
    stop = len(block) if by_size < 0 else by_size + 1
    count = _count(memoryview(block)[begin:stop], b"\n")
    if count < lines:
        return stop, count, by_size >= 0
    end = begin
    for _ in range(lines):
        end = block.index(b"\n", end) + 1
    return end, lines, True


def read_lines(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span of lines. Empty lines are no rows, but they count, so that a row's number is its
    line's.
    """
    if (values := _decode_together(span, limits, _ANY)) is not None:
        yield from map(RawRow, range(len(values)), values)
        return
    most = limits.max_row_bytes + 2  # with the line's end
    for row, (line, size) in enumerate(_lines(span, most)):
        if size > most:
            yield RawRow(row, Defect("row_too_long", f"{size} bytes", excerpt(line[:most])))
        elif bare := line.strip(SPACE):
            yield RawRow(row, parse_json(bare, limits))


def read_texts(span: Span, limits: Limits, columns: Collection[str]) -> dict[str, list[str]] | None:
    """The texts of some columns, of all lines, in a third of the time of `read_lines`: nothing else of a row is kept.

    None unless each line is an object with a text in each of these columns.
    """
    if any(_UNNAMEABLE.search(column) for column in columns):
        return None
    names = {f"text_{number}": column for number, column in enumerate(columns)}
    row_type = msgspec.defstruct("Row", [(name, str) for name in names], rename=names, gc=False)
    rows = _decode_together(span, limits, msgspec.json.Decoder(row_type))
    return None if rows is None else {column: list(map(attrgetter(name), rows)) for name, column in names.items()}


_ANY: Final = msgspec.json.Decoder()
_UNNAMEABLE: Final = re.compile(r'["\\\x00-\x1f]')
"""What msgspec takes in no name of a field."""

T = TypeVar("T")


def _decode_together(span: Span, limits: Limits, decoder: msgspec.json.Decoder[T]) -> list[T] | None:
    """All lines by one call, in a third of the time that one by one take; None where some line is empty, defective, odd
    (see `parse_json`), or of another type than the decoder's.
    """
    if span.stop - span.start > SPAN_BYTES + limits.max_row_bytes:  # its last line is too long
        return None
    with span.file.open() as stream:
        stream.seek(span.start)
        data = stream.read(span.stop - span.start)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    ends = _line_ends(data)
    if not _are_objects(data, ends, limits):
        return None
    try:
        if not data.isascii():
            data.decode()  # the decoder does not look at the encoding of what it leaves out
        values = decoder.decode_lines(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # The decoder parts values by any space, or none. But no value goes on in a line that opens an object when the one
    # before it ended by closing one: if there are as many values as lines, each line is one.
    return values if len(values) == len(ends) else None


def _line_ends(data: bytes) -> npt.NDArray[np.int64]:
    """Where lines end; the last one may have no end of its own."""
    ends = [begin + np.flatnonzero(block == ord("\n")) for begin, block in _blocks(data)]
    if not data.endswith(b"\n"):
        ends.append(np.array([len(data)]))
    return np.concatenate(ends)


def _are_objects(data: bytes, ends: npt.NDArray[np.int64], limits: Limits) -> bool:
    """Whether each line opens and closes an object, is no longer than a row may be, and opens no more brackets than may
    be nested.
    """
    starts = np.append(0, ends[:-1] + 1)
    sizes = ends - starts
    if sizes.min() < 2 or sizes.max() > limits.max_row_bytes:
        return False
    characters = np.frombuffer(data, np.uint8)
    if (characters[starts] != ord("{")).any() or (characters[ends - 1] != ord("}")).any():
        return False
    # Nearly all rows are flat: then there are about as many brackets as lines, and no line needs a count of its own.
    if sum(np.count_nonzero(_is_opening(block)) for _, block in _blocks(data)) - len(ends) < limits.max_json_depth:
        return True
    openings = np.concatenate([begin + np.flatnonzero(_is_opening(block)) for begin, block in _blocks(data)])
    return int(np.bincount(np.searchsorted(ends, openings)).max()) <= limits.max_json_depth


def _is_opening(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where brackets and braces open, which differ in one bit, by which no other character becomes a brace."""
    is_opening: npt.NDArray[np.bool_] = (block | np.uint8(ord("[") ^ ord("{"))) == ord("{")
    return is_opening


def _blocks(data: bytes) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """`data` in pieces that a processor keeps near, each with its offset: what is made of one needs no new memory."""
    for begin in range(0, len(data), _NEAR):
        yield begin, np.frombuffer(data, np.uint8, min(_NEAR, len(data) - begin), begin)


_NEAR: Final = 1 << 18


def _count(data: bytes | memoryview, byte: bytes) -> int:
    """How often a byte stands in `data`; four times as fast for large data as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(byte)))


def _lines(span: Span, most: int) -> Iterator[tuple[bytes, int]]:
    """Lines of a span without their ends, and their sizes with them; of a longer line than `most`, its first bytes."""
    head, size = b"", 0  # of a line that has begun: what is kept of it, and what there was
    with span.file.open() as stream:
        left = span.stop - stream.seek(span.start)
        while block := stream.read(min(BLOCK, left)):
            left -= len(block)
            first, *others = block.split(b"\n")
            head, size = head + first if size <= most else head, size + len(first)
            for line in others:
                yield head, size + 1
                head, size = line, len(line)
    if size:
        yield head, size
