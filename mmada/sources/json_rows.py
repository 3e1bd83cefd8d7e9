"""JSON: one object per line (`jsonl`), or a document that is an array of rows or one value after another (`json`).

Both are cut at byte offsets without being parsed as a whole, so that memory is bounded by a row, not by a
file.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec
import numpy as np

from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span, excerpt

_BLOCK: Final = 1 << 20
_IN_STRING: Final = re.compile(rb'["\\]')
_OUTSIDE: Final = re.compile(rb'["\[\]{},]')
_OPENING: Final = (b"[", b"{")
_SPACE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"
_Ranges: TypeAlias = "Callable[[BinaryIO, int], Iterator[tuple[int, int]]]"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_UNKNOWN: Final = object()
_FAST: Final = msgspec.json.Decoder()
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def parse_json(data: bytes, limits: Limits) -> object:
    """The value that `data` (UTF-8, one JSON value) stands for, or the Defect that it has.

    Reasons: row_too_long (more than max_row_bytes), malformed_json (syntax, encoding, nesting beyond
    max_json_depth).
    """
    if len(data) > limits.max_row_bytes:
        return Defect("row_too_long", f"{len(data)} bytes", excerpt(data))
    try:
        value = _FAST.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = (
            _UNKNOWN  # the other decoder takes byte order marks, half surrogates and huge exponents, or says why not
        )
    if _is_flat(value):  # nearly all rows are, and their brackets need no counting
        return value
    if _nested_deeper(data, limits.max_json_depth):
        return Defect("malformed_json", f"nested deeper than {limits.max_json_depth}", excerpt(data))
    if value is not _UNKNOWN:
        return value
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except ValueError as error:
        return Defect("malformed_json", str(error), excerpt(data))


def _is_flat(value: object) -> bool:
    if type(value) is not dict:
        return False
    for field in value.values():  # noqa: SIM110  # any() would take as long as decoding the row
        if type(field) is dict or type(field) is list:
            return False
    return True


def _nested_deeper(data: bytes, depth: int) -> bool:
    if _openings(data) <= depth:
        return False
    level = position = 0
    in_string = False
    while match := (_IN_STRING if in_string else _OUTSIDE).search(data, position):
        token, position = match.group(), match.end()
        if token == b"\\":
            position += 1
        elif token == b'"':
            in_string = not in_string
        elif token != b",":
            level += 1 if token in _OPENING else -1
            if level > depth:
                return True
    return False


def split_lines(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of whole lines; also a line of many gigabytes is passed over block by block."""
    start = position = first = ended = 0  # `ended`: lines of this span whose end was met
    inside = False  # a line has begun and not ended
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(_BLOCK):
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
        elif bare := line.strip(_SPACE):
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
    deep = inside >= limits.max_json_depth and any(_openings(line) > limits.max_json_depth for line in lines)
    if deep or max(map(len, lines)) > limits.max_row_bytes:
        return None
    try:
        return list(map(_FAST.decode, lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _openings(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _count(data: bytes | memoryview, byte: bytes) -> int:
    """How often a byte stands in `data`; four times as fast for large data as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(byte)))


def _lines(span: Span, most: int) -> Iterator[tuple[bytes, int]]:
    """Lines of a span without their ends, and their sizes with them; of a longer line than `most`, its first bytes."""
    head, size = b"", 0  # of a line that has begun: what is kept of it, and what there was
    with span.file.open() as stream:
        left = span.stop - stream.seek(span.start)
        while block := stream.read(min(_BLOCK, left)):
            left -= len(block)
            first, *others = block.split(b"\n")
            head, size = head + first if size <= most else head, size + len(first)
            for line in others:
                yield head, size + 1
                head, size = line, len(line)
    if size:
        yield head, size


def split_document(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of the elements of an array, or of values that stand one after another, pretty-printed or not."""
    with file.open() as stream:
        body, ranges, gap = _values(stream)
        start, first, count = body, 0, 0
        for _, stop in ranges(stream, body):
            count += 1
            if count == limits.rows_per_unit or stop - start >= SPAN_BYTES:
                yield Span(file, start, stop, first, count, _range_digest(file, start, stop))
                start, first, count = stop + gap, first + count, 0
        if count:
            yield Span(file, start, stop, first, count, _range_digest(file, start, stop))


def read_document(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span that `split_document` made."""
    with span.file.open() as stream:
        _, ranges, _ = _values(stream)
        for row, (start, stop) in enumerate(ranges(stream, span.start)):
            if row == span.rows:
                return
            stream.seek(start)
            data = stream.read(min(stop - start, limits.max_row_bytes + 1))
            if stop - start > limits.max_row_bytes:
                yield RawRow(row, Defect("row_too_long", f"{stop - start} bytes", excerpt(data)))
            else:
                yield RawRow(row, parse_json(data.strip(_SPACE), limits))


def _values(stream: BinaryIO) -> tuple[int, _Ranges, int]:
    """Where the values of a document begin, their byte ranges from there, and the bytes between two of them."""
    body = _array_start(stream)
    return (0, _concatenated, 0) if body is None else (body, _elements, 1)


def _array_start(stream: BinaryIO) -> int | None:
    """Offset after the opening bracket of a document that is an array, else None."""
    head = stream.read(_BLOCK)
    bare = head.removeprefix(_BOM).lstrip(_SPACE)
    return len(head) - len(bare) + 1 if bare.startswith(b"[") else None


def _elements(stream: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the elements of an array whose body begins at `start`.

    Text after the closing bracket, or an array that never closes, gives one last range that does not parse.
    """
    scan = _scan(stream, start)
    begin, empty = start, True
    for position, token, level in scan:
        if level == 0 and token == b",":
            yield begin, position
            begin, empty = position + 1, False
        elif level == 0:
            if not empty or _holds_text(stream, begin, position):
                yield begin, position
            end = stream.seek(0, 2)
            if _holds_text(stream, position + 1, end):
                yield position, end
            return
    yield begin, max(begin, stream.seek(0, 2))


def _concatenated(stream: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of objects and arrays that stand one after another from `start` on; other text is a last range."""
    begin = start
    for position, _, level in _scan(stream, start):
        if level == 1:
            yield begin, position + 1
            begin = position + 1
    end = stream.seek(0, 2)
    if _holds_text(stream, begin, end):
        yield begin, end


def _scan(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Commas and the closing bracket at the text's own level (0), and what closes a value at that level (1).

    Gives offset, character, level.
    """
    base, level, in_string, escaped = start, 0, False, False
    while True:
        stream.seek(base)
        block = stream.read(_BLOCK)
        if not block:
            return
        position = int(escaped)
        escaped = False
        while match := (_IN_STRING if in_string else _OUTSIDE).search(block, position):
            token, position = match.group(), match.end()
            if token == b"\\":
                position += 1
                escaped = position > len(block)
            elif token == b'"':
                in_string = not in_string
            elif level == 0 and token in (b",", b"]"):
                yield base + match.start(), token, 0
            elif token in _OPENING:
                level += 1
            elif token != b"," and level:
                if level == 1:
                    yield base + match.start(), token, 1
                level -= 1
        base += len(block)


def _holds_text(stream: BinaryIO, start: int, stop: int) -> bool:
    stream.seek(start)
    while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
        if block.strip(_SPACE):
            return True
        start += len(block)
    return False


def _range_digest(file: RawFile, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        stream.seek(start)
        while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def split_array_or_lines(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Formats that are published both ways: an array when the first character is '[', lines otherwise."""
    return split_document(file, limits) if is_array(file) else split_lines(file, limits)


def read_array_or_lines(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span that `split_array_or_lines` made."""
    return read_document(span, limits) if is_array(span.file) else read_lines(span, limits)


def is_array(file: RawFile) -> bool:
    """Whether the first character of a file opens an array."""
    with file.open() as stream:
        return _array_start(stream) is not None


def read_object(file: RawFile, limits: Limits) -> dict[str, Any] | Defect:
    """The JSON object that a whole file holds."""
    with file.open() as stream:
        content = parse_json(stream.read(limits.max_row_bytes + 1), limits)
    if isinstance(content, dict | Defect):
        return content
    return Defect("malformed_json", f"{file.name} holds no object")
