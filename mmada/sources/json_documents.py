"""JSON documents: an array of rows, or one value after another, cut at byte offsets without being parsed as a whole.

Memory is bounded by a row, not by a file. Corpora that are published both ways, as an array or as lines, are told apart
by their first character.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, Final, TypeAlias

from mmada.sources.json_lines import read_lines, read_texts, split_lines
from mmada.sources.json_values import BLOCK, IN_STRING, OPENING, OUTSIDE, SPACE, parse_json
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span, excerpt
from mmada.unit_store import unit_key

_BOM: Final = b"\xef\xbb\xbf"
_Ranges: TypeAlias = "Callable[[BinaryIO, int], Iterator[tuple[int, int]]]"


def split_document(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of the elements of an array, or of values that stand one after another, pretty-printed or not."""
    with file.open() as stream:
        body, ranges, gap = _values(stream)
        start, first, count = body, 0, 0
        read_as = "array" if gap else "values"  # equal bytes are other rows in an array
        for _, stop in ranges(stream, body):
            count += 1
            if count == limits.rows_per_unit or stop - start >= SPAN_BYTES:
                yield Span(file, start, stop, first, count, unit_key(read_as, _range_digest(file, start, stop)))
                start, first, count = stop + gap, first + count, 0
        if count:
            yield Span(file, start, stop, first, count, unit_key(read_as, _range_digest(file, start, stop)))


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
                yield RawRow(row, parse_json(data.strip(SPACE), limits))


def _values(stream: BinaryIO) -> tuple[int, _Ranges, int]:
    """Where the values of a document begin, their byte ranges from there, and the bytes between two of them."""
    body = _array_start(stream)
    return (0, _concatenated, 0) if body is None else (body, _elements, 1)


def _array_start(stream: BinaryIO) -> int | None:
    """Offset after the opening bracket of a document that is an array, else None."""
    head = stream.read(BLOCK)
    bare = head.removeprefix(_BOM).lstrip(SPACE)
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
        block = stream.read(BLOCK)
        if not block:
            return
        position = int(escaped)
        escaped = False
        while match := (IN_STRING if in_string else OUTSIDE).search(block, position):
            token, position = match.group(), match.end()
            if token == b"\\":
                position += 1
                escaped = position > len(block)
            elif token == b'"':
                in_string = not in_string
            elif level == 0 and token in (b",", b"]"):
                yield base + match.start(), token, 0
            elif token in OPENING:
                level += 1
            elif token != b"," and level:
                if level == 1:
                    yield base + match.start(), token, 1
                level -= 1
        base += len(block)


def _holds_text(stream: BinaryIO, start: int, stop: int) -> bool:
    stream.seek(start)
    while start < stop and (block := stream.read(min(BLOCK, stop - start))):
        if block.strip(SPACE):
            return True
        start += len(block)
    return False


def _range_digest(file: RawFile, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        stream.seek(start)
        while start < stop and (block := stream.read(min(BLOCK, stop - start))):
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def split_array_or_lines(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Formats that are published both ways: an array when the first character is '[', lines otherwise."""
    return split_document(file, limits) if is_array(file) else split_lines(file, limits)


def read_array_or_lines(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span that `split_array_or_lines` made."""
    return read_document(span, limits) if is_array(span.file) else read_lines(span, limits)


def texts_of_lines(span: Span, limits: Limits, columns: Collection[str]) -> dict[str, list[str]] | None:
    """`json_lines.read_texts` of such a span; None where it is of an array."""
    return None if is_array(span.file) else read_texts(span, limits, columns)


def is_array(file: RawFile) -> bool:
    """Whether the first character of a file opens an array."""
    with file.open() as stream:
        return _array_start(stream) is not None
