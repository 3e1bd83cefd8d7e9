"""WebDataset tars, plain or compressed: members of one key are one sample. Nothing is ever extracted to disk.

A key is a member's name up to the first dot of its last part; the rest, in lower case, is the field's name. Members
without a key or a field (README, ._a.jpg) belong to no sample. Both are as in the webdataset library.

What a header says is bounded before it is believed: a sample beyond the limits is passed over, an archive that expands
beyond reason is given up.
"""

import bz2
import gzip
import itertools
import lzma
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Final

from mmada.sources.forward_reading import read_forward
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key

MAX_MEMBERS: Final = 100
"""Members of one sample; more is no sample."""

_KEY_AND_FIELD: Final = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)
_TO_THE_END: Final = -1
_BLOCK: Final = 512
_MOST_AT_ONCE: Final = 64 << 20
"""Bytes of one read; a header may ask for more than any memory holds."""
_MOST_EXPANSION: Final = 200
"""How many times its own size a compressed archive may hold; text seldom exceeds 20, pictures 1.1."""
_COMPRESSED: Final[dict[bytes, Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BROKEN: Final = (
    *(tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError),
    *(zlib.error, lzma.LZMAError),
)


class _ExpandsTooMuchError(Exception):
    pass


_GIVEN_UP: Final = (*_BROKEN, _ExpandsTooMuchError)


class _Bounded:
    """The bytes of a tar in reads of bounded size, up to a last one."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.tell, self._stream, self._most = stream.tell, stream, most

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header asks for {size} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self._most:
            raise _ExpandsTooMuchError(f"holds more than {self._most:,} bytes")
        return self._stream.seek(offset, whence)


@dataclass
class _Group:
    """Members of one sample while a tar is being read; `fields` stays empty when they are too large."""

    key: str
    offset: int
    names: list[str] = field(default_factory=list)
    size: int = 0
    fields: dict[str, object] = field(default_factory=dict)


def split_tar(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of samples: at byte offsets; in a compressed tar, which has none, at numbers of samples."""
    sha256 = file.sha256()
    start = first = count = offset = 0
    try:
        with _opened(file, 0) as (archive, is_plain):
            for group in _groups(archive, bound=0):
                if count == limits.rows_per_unit or group.offset - offset >= SPAN_BYTES:
                    stop = group.offset if is_plain else first + count
                    yield Span(file, start, stop, first, count, unit_key(sha256, start, stop))
                    start, first, count, offset = stop, first + count, 0, group.offset
                count += 1
    except _GIVEN_UP:
        pass  # reading the last span meets the same break and reports it as a row
    yield Span(file, start, _TO_THE_END, first, count, unit_key(sha256, start, _TO_THE_END))


def read_tar(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span: field name -> bytes. Where the file is cut, what was whole before the cut stands, the
    cut is a row.
    """
    bound = limits.max_row_bytes + limits.max_image_bytes
    row = 0
    try:
        with _opened(span.file, span.start) as (archive, is_plain):
            for group in _groups_of(span, archive, bound) if is_plain else _groups_by_number(span, bound):
                yield RawRow(row, _content(group, bound))
                row += 1
        if is_plain and span.stop == _TO_THE_END and not _ends_with_zeros(span.file):
            yield RawRow(row, Defect("archive_truncated", "no end-of-archive block"))
    except _BROKEN as error:
        yield RawRow(row, Defect("archive_truncated", f"{type(error).__name__}: {error}"[:200]))
    except _ExpandsTooMuchError as error:
        yield RawRow(row, Defect("archive_too_large", str(error)))


@contextmanager
def _opened(file: RawFile, start: int) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """The tar from byte `start` on, or from its beginning where it is compressed; and whether it is plain."""
    with file.open() as stream:
        magic = stream.read(8)
        decompress = next((opener for begin, opener in _COMPRESSED.items() if magic.startswith(begin)), None)
        stream.seek(0 if decompress else start)
        inside = decompress(stream) if decompress else stream
        most = _MOST_EXPANSION * file.size + _MOST_AT_ONCE if decompress else sys.maxsize
        with inside, tarfile.open(fileobj=_Bounded(inside, most), mode="r:") as archive:  # type: ignore[call-overload]  # all that tarfile uses
            yield archive, decompress is None


def _groups_of(span: Span, archive: tarfile.TarFile, bound: int) -> Iterator["_Group"]:
    """Samples of a span, with which a plain tar is open."""
    return itertools.islice(_groups(archive, bound), None if span.stop == _TO_THE_END else span.rows)


def _groups_by_number(span: Span, bound: int) -> Iterator["_Group"]:
    """Samples of a span of a compressed tar."""
    stop = sys.maxsize if span.stop == _TO_THE_END else span.stop
    return read_forward(span, ("tar", bound), lambda file, _: _CompressedTar(file, bound), stop=stop)


class _CompressedTar:
    """The samples of a compressed tar, by their numbers."""

    def __init__(self, file: RawFile, bound: int) -> None:
        self._files = ExitStack()
        archive, _ = self._files.enter_context(_opened(file, 0))
        self._groups = _groups(archive, bound)
        self.position, self.end = 0, sys.maxsize

    def read(self, stop: int) -> Iterator["_Group"]:
        for group in itertools.islice(self._groups, stop - self.position):
            self.position += 1
            yield group

    def close(self) -> None:
        self._files.close()


def _content(group: _Group, bound: int) -> dict[str, object] | Defect:
    if len(group.names) > MAX_MEMBERS:
        return Defect("row_too_long", f"more than {MAX_MEMBERS} members", group.key[:200])
    if group.size > bound:
        return Defect("row_too_long", f"{group.size} bytes in {len(group.names)} members", group.key[:200])
    if len(group.fields) < len(group.names):
        return Defect("malformed_sample", f"a member stands there twice: {sorted(group.names)}"[:200], group.key[:200])
    return {"__key__": group.key, **group.fields}


def _ends_with_zeros(file: RawFile) -> bool:
    with file.open() as stream:
        stream.seek(max(0, file.size - _BLOCK))
        tail = stream.read(_BLOCK)
    return len(tail) == _BLOCK and not any(tail)


def _groups(archive: tarfile.TarFile, bound: int) -> Iterator[_Group]:
    """Runs of members with one key, with their bytes up to `bound`; folders, links and devices are no members."""
    group: _Group | None = None
    members = _members(archive)
    while True:
        try:
            member = next(members, None)
        except _GIVEN_UP:  # in a header: the members before it are whole
            if group is not None:
                yield group
            raise
        if member is None:
            break
        named = _KEY_AND_FIELD.fullmatch(member.name)
        if named is None:
            continue
        key, extension = named[1], named[2].lower()
        if group is None or key != group.key:
            if group is not None:
                yield group
            group = _Group(key, member.offset)
        group.size += member.size
        if len(group.names) <= MAX_MEMBERS:
            group.names.append(extension)
        if group.size > bound or len(group.names) > MAX_MEMBERS:
            group.fields.clear()
        else:
            group.fields[extension] = _data(archive, member)
    if group is not None:
        yield group


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Regular files of a tar, one by one."""
    for member in archive:
        # tarfile keeps every header that it has met; a tar may hold millions
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks this public list
        if member.size < 0:  # tarfile would go back and read the same header for ever
            raise tarfile.ReadError(f"a header says {member.size} bytes")
        if member.isreg() and not member.name.endswith("/"):
            yield member


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, "a regular member has content"
    return stream.read()
