"""Where the bytes of shards come from: here, a folder; `remote_shards` has them come from an object store."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

Place = tuple[str, int, int]
"""Shard, offset, length."""

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

    def prepare(self, places: Sequence[Place]) -> None:
        """These places are read next: what must be fetched for that is fetched at the same time."""


@dataclass
class OpenFiles:
    """Files of a folder that stay open for reading at any place; beyond a number, those opened first are closed."""

    folder: Path
    _handles: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)

    def open(self, name: str) -> int:
        """Descriptor of a file, which is opened if it is not open. Raises FileNotFoundError."""
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._handles) > _OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
        return handle

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of a file, fewer where it ends before that. Raises FileNotFoundError."""
        return os.pread(self.open(name), length, offset)

    def holds(self, name: str) -> bool:
        """Whether a file is open."""
        return name in self._handles

    def close(self, name: str) -> None:
        """Close a file if it is open."""
        if name in self._handles:
            os.close(self._handles.pop(name))

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)


class LocalShards:
    """Shards in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = OpenFiles(folder)

    @property
    def advice(self) -> str:
        return f"delete {self.folder} and run `dvc repro` (or `dvc checkout`) to restore it"

    def read(self, shard: str, offset: int, length: int) -> bytes:
        return self._open.read(shard, offset, length)

    def renew(self, shard: str) -> None:
        self._open.close(shard)

    def prepare(self, places: Sequence[Place]) -> None:
        """All are here."""
