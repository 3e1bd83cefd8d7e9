"""Results of units of work, kept by key: what is done once is never done twice.

A unit's key covers everything that its result depends on, so a stored result is always right. Results are
written atomically with their sha256 and verified when read; a damaged one counts as absent and is made again.
The store is git-ignored and no DVC output: deleting it costs time, never correctness.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmada.storage import atomic_write

_DIGEST_BYTES: Final = 32


def unit_key(*parts: object) -> str:
    """Key of a unit: sha256 of the canonical JSON of what its result depends on."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class UnitStore:
    """Byte strings by key below `root`."""

    root: Path

    def path(self, key: str) -> Path:
        """File that holds (or would hold) the result of `key`."""
        return self.root / key[:2] / key

    def group(self, name: str) -> "UnitStore":
        """A store within this one, whose keys can be listed by themselves."""
        return UnitStore(self.root / name)

    def keys(self) -> Iterator[str]:
        """Keys that have a result, in no order."""
        return (path.name for path in self.root.glob("[0-9a-f][0-9a-f]/[!.]*"))

    def get(self, key: str) -> bytes | None:
        """Result of a unit, or None if it is absent or its bytes are damaged."""
        try:
            stored = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        digest, data = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return data if hashlib.sha256(data).digest() == digest else None

    def put(self, key: str, data: bytes) -> None:
        """Keep the result of a unit; equal keys hold equal results, so the last writer is as good as the first."""
        atomic_write(self.path(key), hashlib.sha256(data).digest() + data)
