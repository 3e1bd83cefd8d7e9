"""JSON: one object per line (`jsonl`), or one document that is an array of rows (`json`).

Both are cut at byte offsets without being parsed as a whole, so that memory is bounded by a row, not by a
file.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span, excerpt

_BLOCK: Final = 1 << 20
_IN_STRING: Final = re.compile(rb'["\\]')
_OUTSIDE: Final = re.compile(rb'["\[\]{},]')
_OPENING: Final = (b"[", b"{")
_SPACE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def parse_json(data: bytes, limits: Limits) -> object:
    """The value that `data` (UTF-8, one JSON value) stands for, or the Defect that it has.

    Reasons: row_too_long (more than max_row_bytes), malformed_json (syntax, encoding, nesting beyond
    max_json_depth).
    """
    if len(data) > limits.max_row_bytes:
        return Defect("row_too_long", f"{len(data)} bytes", excerpt(data))
    if _nested_deeper(data, limits.max_json_depth):
        return Defect("malformed_json", f"nested deeper than {limits.max_json_depth}", excerpt(data))
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except ValueError as error:
        return Defect("malformed_json", str(error), excerpt(data))


def _nested_deeper(data: bytes, depth: int) -> bool:
    if data.count(b"[") + data.count(b"{") <= depth:
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


def split_lines(file: Path, limits: Limits) -> Iterator[Span]:
    """Spans of whole lines; also a line of many gigabytes is passed over block by block."""
    start = position = first = lines = 0
    inside = False  # a line has begun and not ended
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.readline(_BLOCK):
            digest.update(block)
            position += len(block)
            lines += not inside
            inside = not block.endswith(b"\n")
            if not inside and (lines == limits.rows_per_unit or position - start >= SPAN_BYTES):
                yield Span(file, start, position, first, lines, digest.hexdigest())
                start, first, lines, digest = position, first + lines, 0, hashlib.sha256()
    if position > start:
        yield Span(file, start, position, first, lines, digest.hexdigest())


def read_lines(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span of lines. Empty lines are no rows, but they count, so that a row's number is its
    line's.
    """
    with span.file.open("rb") as stream:
        stream.seek(span.start)
        row = 0
        while stream.tell() < span.stop:
            line = stream.readline(limits.max_row_bytes + 2)
            if not line.endswith(b"\n") and stream.tell() < span.stop:
                size = len(line) + _skip_line(stream)
                yield RawRow(row, Defect("row_too_long", f"{size} bytes", excerpt(line)))
            elif line.strip(_SPACE):
                yield RawRow(row, parse_json(line.rstrip(b"\r\n"), limits))
            row += 1


def _skip_line(stream: BinaryIO) -> int:
    """Pass to the next line; how many bytes were left of this one."""
    size = 0
    while block := stream.readline(_BLOCK):
        size += len(block)
        if block.endswith(b"\n"):
            break
    return size


def split_document(file: Path, limits: Limits) -> Iterator[Span]:
    """Spans of the elements of a JSON array; a document of another kind is one row."""
    with file.open("rb") as stream:
        body = _array_start(stream)
        if body is None:
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if stream.tell():
                yield Span(file, 0, stream.tell(), 0, 1, digest)
            return
        start, stop, first, count = body, body, 0, 0
        for _, stop in _elements(stream, body):
            count += 1
            if count == limits.rows_per_unit or stop - start >= SPAN_BYTES:
                yield Span(file, start, stop, first, count, _range_digest(file, start, stop))
                start, first, count = stop + 1, first + count, 0
        if count:
            yield Span(file, start, stop, first, count, _range_digest(file, start, stop))


def read_document(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span of array elements."""
    with span.file.open("rb") as stream:
        if span.start == 0:
            yield RawRow(0, _whole(_read(stream, 0, span.stop, limits), limits))
            return
        for row, (start, stop) in enumerate(_elements(stream, span.start)):
            if row == span.rows:
                return
            data = _read(stream, start, stop, limits)
            if stop - start > limits.max_row_bytes:
                yield RawRow(row, Defect("row_too_long", f"{stop - start} bytes", excerpt(data)))
            else:
                yield RawRow(row, parse_json(data.strip(_SPACE), limits))


def _whole(data: bytes, limits: Limits) -> object:
    content = parse_json(data, limits)
    if isinstance(content, Defect) and "Extra data" in content.value:
        hint = f"{content.value}; if these are JSON lines, declare format jsonl"
        return Defect(content.reason, hint, content.excerpt)
    return content


def _read(stream: BinaryIO, start: int, stop: int, limits: Limits) -> bytes:
    stream.seek(start)
    return stream.read(min(stop - start, limits.max_row_bytes + 1))


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
    for position, token in scan:
        if token == b",":
            yield begin, position
            begin, empty = position + 1, False
        elif token == b"]":
            if not empty or _holds_text(stream, begin, position):
                yield begin, position
            end = stream.seek(0, 2)
            if _holds_text(stream, position + 1, end):
                yield position, end
            return
    yield begin, max(begin, stream.seek(0, 2))


def _scan(stream: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """Commas and the closing bracket at the array's own level, with their offsets."""
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
                yield base + match.start(), token
            elif token in _OPENING:
                level += 1
            elif token != b"," and level:
                level -= 1
        base += len(block)


def _holds_text(stream: BinaryIO, start: int, stop: int) -> bool:
    stream.seek(start)
    while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
        if block.strip(_SPACE):
            return True
        start += len(block)
    return False


def _range_digest(file: Path, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(start)
        while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def split_array_or_lines(file: Path, limits: Limits) -> Iterator[Span]:
    """Formats that are published both ways: an array when the first character is '[', lines otherwise."""
    return split_document(file, limits) if is_array(file) else split_lines(file, limits)


def read_array_or_lines(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span that `split_array_or_lines` made."""
    return read_document(span, limits) if is_array(span.file) else read_lines(span, limits)


def is_array(file: Path) -> bool:
    """Whether the first character of a file opens an array."""
    with file.open("rb") as stream:
        return _array_start(stream) is not None


def read_object(file: Path, limits: Limits) -> dict[str, Any] | Defect:
    """The JSON object that a whole file holds."""
    if not file.is_file():
        return Defect("missing_field", f"no file {file.name}")
    content = parse_json(file.read_bytes(), limits)
    if isinstance(content, dict | Defect):
        return content
    return Defect("malformed_json", f"{file.name} holds no object")
