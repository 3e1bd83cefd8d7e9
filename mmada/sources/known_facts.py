"""What was found out about raw files, kept for many of them together: ten thousand small ones are one result to read,
not ten thousand.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from mmada.sources.raw_files import LocalFile, RawFile
from mmada.unit_store import UnitStore, unit_key

_PUT_BY_BYTES: Final = 1 << 30
"""Of files whose facts wait to be put by: one or two seconds of work."""

_SETTLED_NS: Final = 2_000_000_000
"""A file that changed so shortly before may change again without a new time: the coarsest file systems count in steps
of two seconds (FAT).
"""


class KnownFacts:
    """Facts (JSON) by name, from the results of all runs in `memo`. May be asked and told from many threads."""

    def __init__(self, memo: UnitStore) -> None:
        self._memo = memo
        self._lock = Lock()
        self._known: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        self._new_bytes = 0
        for _, result in memo.results():
            self._known |= json.loads(result)

    def get(self, name: str) -> Any | None:
        """What is known by this name; None if nothing is."""
        return self._known.get(name)

    def add(self, name: str, fact: object, *, size: int) -> None:
        """Take up what a file of so many bytes was found to be."""
        with self._lock:
            self._known[name] = self._new[name] = fact
            self._new_bytes += size
            if self._new_bytes >= _PUT_BY_BYTES:
                self._put_by()

    def keep(self) -> None:
        """Put by what is new."""
        with self._lock:
            self._put_by()

    def _put_by(self) -> None:
        if self._new:
            self._memo.put(unit_key(sorted(self._new)), json.dumps(self._new, sort_keys=True).encode())
        self._new, self._new_bytes = {}, 0


@contextmanager
def known_facts(memo: UnitStore) -> Iterator[KnownFacts]:
    """The facts in `memo`; new ones are kept whatever happens."""
    known = KnownFacts(memo)
    try:
        yield known
    finally:
        known.keep()


def known_sha256(file: RawFile, known: KnownFacts) -> str | None:
    """sha256 of a file's bytes as far as it need not be read for it; else None, and `find_sha256` finds it.

    One of this machine is read only if it may have changed since it was hashed (see `LocalFile.state`).
    """
    if not isinstance(file, LocalFile):  # its digest is pinned
        return file.sha256()
    return known.get(file.state())


def find_sha256(file: RawFile, known: KnownFacts) -> str:
    """sha256 of a file's bytes, which is known from then on unless the file has only just changed."""
    digest = known_sha256(file, known)
    if digest is None:
        assert isinstance(file, LocalFile)
        now, state, stat = time.time_ns(), file.state(), file.path.stat()
        digest = file.sha256()
        if max(stat.st_mtime_ns, stat.st_ctime_ns) < now - _SETTLED_NS:
            known.add(state, digest, size=stat.st_size)
    return digest
