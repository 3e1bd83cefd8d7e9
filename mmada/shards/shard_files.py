"""Where the bytes of shards come from: here, a folder; `remote_shards` has them come from an object store."""

import os
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

_OPEN_FILES: Final = 256


class ShardFiles(Protocol):
    """Bytes of shards by name."""

    @property
    def advice(self) -> str:
        """What to do about a shard that stays damaged."""

    def read(self, shard: str, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of a shard, fewer where it ends before that."""

    def renew(self, shard: str) -> None:
        """Forget what is held of a shard that was found damaged: the next reading gets it afresh."""

    def prepare(self, shards: Collection[str]) -> None:
        """These shards are read next: what must be fetched for that is fetched at the same time."""


@dataclass
class OpenFiles:
    """Files that stay open for reading at any place; beyond a number, those opened first are closed."""

    _handles: OrderedDict[Path, int] = field(default_factory=OrderedDict, init=False)

    def open(self, path: Path) -> int:
        """Descriptor of a file, which is opened if it is not open. Raises FileNotFoundError."""
        if path not in self._handles:
            self._handles[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._handles) > _OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
        return self._handles[path]

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of a file, fewer where it ends before that. Raises FileNotFoundError."""
        return os.pread(self.open(path), length, offset)

    def holds(self, path: Path) -> bool:
        """Whether a file is open."""
        return path in self._handles

    def close(self, path: Path) -> None:
        """Close a file if it is open."""
        if path in self._handles:
            os.close(self._handles.pop(path))

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)


@dataclass(frozen=True)
class LocalShards:
    """Shards in a folder."""

    folder: Path
    _open: OpenFiles = field(default_factory=OpenFiles, init=False)

    @property
    def advice(self) -> str:
        return f"delete {self.folder} and run `dvc repro` (or `dvc checkout`) to restore it"

    def read(self, shard: str, offset: int, length: int) -> bytes:
        return self._open.read(self.folder / shard, offset, length)

    def renew(self, shard: str) -> None:
        self._open.close(self.folder / shard)

    def prepare(self, shards: Collection[str]) -> None:
        """All are here."""
