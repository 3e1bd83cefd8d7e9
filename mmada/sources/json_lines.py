"""JSON lines: one value a line, cut at byte offsets without being parsed, so that memory is bounded by a row."""

import hashlib
from collections.abc import Iterator

import msgspec
import numpy as np

from mmada.sources.json_values import BLOCK, SPACE, decode_fast, openings, parse_json
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
    if (values := _values_of_lines(span, limits)) is not None:
        yield from map(RawRow, range(len(values)), values)
        return
    most = limits.max_row_bytes + 2  # with the line's end
    for row, (line, size) in enumerate(_lines(span, most)):
        if size > most:
            yield RawRow(row, Defect("row_too_long", f"{size} bytes", excerpt(line[:most])))
        elif bare := line.strip(SPACE):
            yield RawRow(row, parse_json(bare, limits))


def _values_of_lines(span: Span, limits: Limits) -> list[object] | None:
    """What `parse_json` gives for all lines, in half the time; None where some line is empty, defective or odd."""
    if span.stop - span.start > SPAN_BYTES + limits.max_row_bytes:  # its last line is too long
        return None
    with span.file.open() as stream:
        stream.seek(span.start)
        data = stream.read(span.stop - span.start)
    lines = data.removesuffix(b"\n").split(b"\n")
    # A line opens at most one bracket more than all lines together do inside their outermost objects.
    inside = _count(data, b"[") + _count(data, b"{") - sum(line.startswith(b"{") for line in lines)
    deep = inside >= limits.max_json_depth and any(openings(line) > limits.max_json_depth for line in lines)
    if deep or max(map(len, lines)) > limits.max_row_bytes:
        return None
    try:
        return list(map(decode_fast, lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


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
