"""Results of units of work, kept by key: what is done once is never done twice.

A unit's key covers everything that its result depends on, so a stored result is always right. Results are
written atomically with their sha256 and verified when read; a damaged one counts as absent and is made again.
The store is git-ignored and no DVC output: deleting it costs time, never correctness.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mmada.errors import InputError
from mmada.storage import Storage, atomic_write, open_storage

WORK_DIR: Final = Path(".mmada")
"""What a project keeps for itself beside its data: git-ignored, and made again when it is deleted."""
_DIGEST_BYTES: Final = 32


def unit_key(*parts: object) -> str:
    """Key of a unit: sha256 of the canonical JSON of what its result depends on."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class UnitStore:
    """Byte strings by key: files below `root`, and, where machines share results, the same objects in `shared`."""

    root: Path
    shared: Storage | None = None
    folder: str = ""
    """Of a group: its folder below `root`, with a slash at the end."""

    def group(self, name: str) -> "UnitStore":
        """A store in a folder of its own within this one; only such a store can list its keys by themselves."""
        return replace(self, folder=f"{self.folder}{name}/")

    def path(self, key: str) -> Path:
        """File that holds (or would hold) the result of `key` on this machine."""
        return self.root / self._name(key)

    def get(self, key: str) -> bytes | None:
        """Result of a unit, or None if it is absent or its bytes are damaged. What only `shared` has is copied here."""
        data = self.get_here(key)
        if data is None and self.shared is not None:
            try:
                stored = self.shared.read(self._name(key))
            except InputError:  # no such object
                return None
            data = _verified(stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:])
            if data is not None:
                self._keep(key, stored)
        return data

    def get_here(self, key: str) -> bytes | None:
        """Result of a unit if this machine has it whole."""
        try:
            with self.path(key).open("rb") as stream:
                return _verified(stream.read(_DIGEST_BYTES), stream.read())
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep the result of a unit; equal keys hold equal results, so the last writer is as good as the first."""
        stored = _with_digest(data)
        self._keep(key, stored)
        if self.shared is not None:
            self.shared.write(self._name(key), stored)

    def keys(self) -> Iterator[str]:
        """Keys that have a result, here or in `shared`, in no particular order; those of groups within are left out."""
        here = {path.name for path in (self.root / self.folder).glob("??/*") if not path.name.startswith(".")}
        yield from here
        if self.shared is not None:
            for name in self.shared.names(self.folder):
                two, _, key = name.removeprefix(self.folder).partition("/")
                if len(two) == 2 and key not in here:
                    yield key

    def results(self) -> Iterator[tuple[str, bytes]]:
        """Every key with its result, in order of keys; damaged ones are left out."""
        for key in sorted(self.keys()):
            if (result := self.get(key)) is not None:
                yield key, result

    def _keep(self, key: str, stored: bytes) -> None:
        # Verified when it is read: what a power cut tears is made again.
        atomic_write(self.path(key), stored, durable=False)

    def _name(self, key: str) -> str:
        return f"{self.folder}{key[:2]}/{key}"


def open_unit_store(root: Path) -> UnitStore:
    """The store at `root`, shared with others where MMADA_UNIT_STORE is set (s3://bucket/prefix or a folder)."""
    url = os.environ.get("MMADA_UNIT_STORE", "")
    return UnitStore(root, open_storage(url) if url else None)


def _with_digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def _verified(digest: bytes, data: bytes) -> bytes | None:
    return data if hashlib.sha256(data).digest() == digest else None
