"""WebDataset tars: members of one key are one sample. Read with bounds; nothing is ever extracted to disk.

A key is a member's name up to the first dot of its last part; the rest is the field's name, as in the
webdataset library.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Defect, Limits, RawRow, Span
from mmada.unit_store import unit_key

MAX_MEMBERS: Final = 100
"""Members of one sample; more is no sample."""

_BLOCK: Final = 512
_BROKEN: Final = (tarfile.TarError, EOFError, OSError, ValueError)


@dataclass
class _Group:
    """Members of one sample while a tar is being read; `fields` stays empty when they are too large."""

    key: str
    offset: int
    members: int = 0
    size: int = 0
    fields: dict[str, object] = field(default_factory=dict)


def split_tar(file: RawFile, limits: Limits) -> Iterator[Span]:
    """Spans of samples at byte offsets; a compressed tar has no offsets and is one span."""
    sha256, size = file.sha256(), file.size
    start = first = count = 0
    if _is_plain(file):
        try:
            with file.open() as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                for group in _groups(archive, bound=0):
                    if count == limits.rows_per_unit:
                        yield Span(file, start, group.offset, first, count, unit_key(sha256, start))
                        start, first, count = group.offset, first + count, 0
                    count += 1
        except _BROKEN:
            pass  # reading the last span meets the same cut and reports it as a row
    yield Span(file, start, size, first, count, unit_key(sha256, start))


def read_tar(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span: field name -> bytes. Where the file is cut, what was whole before the cut stands, the
    cut is a row.
    """
    bound = limits.max_row_bytes + limits.max_image_bytes
    is_last = span.stop == span.file.size
    row = 0
    try:
        with span.file.open() as stream:
            stream.seek(span.start)
            with tarfile.open(fileobj=stream) as archive:
                for group in _groups(archive, bound):
                    if row == span.rows and not is_last:
                        return
                    yield RawRow(row, _content(group, bound))
                    row += 1
        if is_last and _is_plain(span.file) and not _ends_with_zeros(span.file):
            yield RawRow(row, Defect("archive_truncated", "no end-of-archive block"))
    except _BROKEN as error:
        yield RawRow(row, Defect("archive_truncated", f"{type(error).__name__}: {error}"[:200]))


def _content(group: _Group, bound: int) -> dict[str, object] | Defect:
    if group.members > MAX_MEMBERS:
        return Defect("row_too_long", f"{group.members} members", group.key[:200])
    if group.size > bound:
        return Defect("row_too_long", f"{group.size} bytes in {group.members} members", group.key[:200])
    return {"__key__": group.key, **group.fields}


def _is_plain(file: RawFile) -> bool:
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r:"):
            return True
    except _BROKEN:
        return False


def _ends_with_zeros(file: RawFile) -> bool:
    with file.open() as stream:
        stream.seek(max(0, file.size - _BLOCK))
        tail = stream.read(_BLOCK)
    return len(tail) == _BLOCK and not any(tail)


def _groups(archive: tarfile.TarFile, bound: int) -> Iterator[_Group]:
    """Runs of members with one key, with their bytes up to `bound`; folders, links and devices are no
    members.
    """
    group: _Group | None = None
    for member in archive:
        # tarfile keeps every header that it has met; a tar may hold millions
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks this public list
        folder, slash, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        key = folder + slash + stem
        if not member.isreg() or not base:
            continue
        if group is not None and key != group.key:
            yield group
            group = None
        group = group or _Group(key, member.offset)
        group.members += 1
        group.size += member.size
        if group.size > bound or group.members > MAX_MEMBERS:
            group.fields.clear()
        else:
            group.fields[extension] = _data(archive, member)
    if group is not None:
        yield group


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, "a regular member has content"
    return stream.read()
