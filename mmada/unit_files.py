"""Several small files as the result of one unit of work: equal files give equal bytes."""

import io
import zipfile
from collections.abc import Mapping
from typing import Final

_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """One byte string of files by name. They are stored as they are: tables are compressed already."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), data)
    return stream.getvalue()


def unpack_files(data: bytes) -> dict[str, bytes]:
    """The files that `pack_files` packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed_file(data: bytes, name: str) -> bytes | None:
    """One of the files that `pack_files` packed, the others left alone; None where it is not among them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name) if name in archive.namelist() else None
