"""Corpora that stay in an object store: a small committed file pins every object, and its bytes are read from there.

A pins file says where the objects lie, which of them were meant and, of each, its name, size, ETag, version and sha256;
it holds no credentials. Reading lists nothing: an object that is not what its pin says is refused.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Final

from mmada.errors import InputError
from mmada.s3_storage import ObjectVersion, S3Storage, open_s3
from mmada.storage import atomic_write

SUFFIX: Final = ".pins.json"
"""What the name of a pins file ends with."""

_FIRST_PIECE: Final = 256 << 10
_LARGEST_PIECE: Final = 8 << 20
"""Bytes asked for at once: little where a reader begins or jumps, more the longer it reads on."""


@dataclass(frozen=True)
class Pin:
    """What one object was when it was pinned. `version_id` is "" in a bucket without versions."""

    name: str
    bytes: int
    etag: str
    version_id: str
    sha256: str

    def version(self) -> ObjectVersion:
        """The version of the object that is meant."""
        return ObjectVersion(self.bytes, self.etag, self.version_id)


@dataclass(frozen=True)
class PinnedFile:
    """An object below `url` as a raw file. `pinned_by`: the command that pins what is there now."""

    url: str
    pin: Pin
    pinned_by: str

    @property
    def name(self) -> str:
        return self.pin.name

    @property
    def location(self) -> str:
        return self.url + self.pin.name

    @property
    def size(self) -> int:
        return self.pin.bytes

    def sha256(self) -> str:
        return self.pin.sha256

    def state(self) -> str:
        return ""

    def open(self) -> BufferedReader:
        """Its bytes. Reading raises InputError when the object is another by now, StorageError when the store fails."""
        return BufferedReader(_Pieces(self), _LARGEST_PIECE)

    def read(self, start: int, length: int) -> bytes:
        """Bytes [start, start + length), with the errors of `open`."""
        try:
            return shared_storage(self.url).read_version(self.name, self.pin.version(), start, length)
        except InputError as error:
            raise InputError(
                f"{error}: it is not what was pinned; run `{self.pinned_by}` to read what is there now"
            ) from None


@dataclass(frozen=True)
class PinnedFolder:
    """The objects below `url` that `pattern` matched when they were pinned, by name. `path`: the pins file."""

    path: Path
    url: str
    pattern: str
    pins: Mapping[str, Pin]

    def files(self, pattern: str) -> list[PinnedFile]:
        return [self._file(pin) for name, pin in self.pins.items() if matches(name, pattern)]

    def find(self, name: str) -> PinnedFile | None:
        pin = self.pins.get(name)
        return self._file(pin) if pin else None

    def _file(self, pin: Pin) -> PinnedFile:
        return PinnedFile(self.url, pin, f"mmada pin {self.url} {self.path} --pattern '{self.pattern}'")


def read_pins(path: Path) -> PinnedFolder:
    """What a pins file says. Raises InputError when it is absent or says something else."""
    try:
        document = json.loads(path.read_bytes())
        pins = [Pin(**entry) for entry in document["objects"]]
        return PinnedFolder(path, str(document["url"]), str(document["pattern"]), {pin.name: pin for pin in pins})
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; make it with `mmada pin s3://<bucket>/<prefix> {path}`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no pins file ({error!r}); delete it and make it again with `mmada pin`") from None


def write_pins(folder: PinnedFolder) -> None:
    """Write a pins file, one object a line in order of their names: equal objects give equal bytes."""
    head = f'"url": {json.dumps(folder.url)}, "pattern": {json.dumps(folder.pattern)}'
    lines = ",\n".join(json.dumps(vars(folder.pins[name]), ensure_ascii=False) for name in sorted(folder.pins))
    atomic_write(folder.path, f'{{{head}, "objects": [\n{lines}\n]}}\n'.encode())


def matches(name: str, pattern: str) -> bool:
    """Whether a glob names a file as pathlib's globs do: '**' is any number of folders."""
    return _matches(tuple(name.split("/")), tuple(pattern.split("/")))


def _matches(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[skipped:], patterns[1:]) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


class _Pieces(io.RawIOBase):
    """A pinned object read by ranged requests. What is next is asked for in growing pieces, a jump begins anew."""

    def __init__(self, file: PinnedFile) -> None:
        self._file = file
        self._position = 0
        self._piece = _FIRST_PIECE

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        if base + offset != self._position:
            self._position, self._piece = base + offset, _FIRST_PIECE
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._next(_LARGEST_PIECE), b""))

    def _next(self, most: int) -> bytes:
        length = min(most, self._piece, self._file.size - self._position)
        if length <= 0:
            return b""
        data = self._file.read(self._position, length)
        self._position += length
        self._piece = min(4 * self._piece, _LARGEST_PIECE)
        return data


def shared_storage(url: str) -> S3Storage:
    """The storage at `url` with the AWS_* environment as it is now; threads of this process share it."""
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _opened(url, settings)


@lru_cache(maxsize=4)  # a client takes a tenth of a second to make, a picture a hundredth to read
def _opened(url: str, settings: tuple[tuple[str, str], ...]) -> S3Storage:
    return open_s3(url)
