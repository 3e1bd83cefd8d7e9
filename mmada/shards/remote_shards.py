"""Shards of an object store, through a bounded cache on this machine."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mmada.errors import IntegrityError, ParamsError
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, file_sha256, read_artifact
from mmada.shards.index import first_damage
from mmada.shards.shard_files import OpenFiles, Place
from mmada.storage import Storage, atomic_write, exclusive, open_storage

CACHE: Final = Path(".mmada/shards")
LIMIT_VARIABLE: Final = "MMADA_SHARD_CACHE_GB"
_FETCHES: Final = 16
"""Objects that are fetched at the same time."""


@dataclass
class RemoteShards:
    """Shards below `url`. When all of them fit the cache, a shard is fetched whole at its first use, and is kept by its
    sha256; else only the samples are fetched, each when it is used.

    The cache holds at most MMADA_SHARD_CACHE_GB (10^9 bytes; 50); what was opened longest ago goes first.
    `artifact`: manifest and index, here. A shard that arrives with a wrong sha256 twice is set aside for a look at it,
    and IntegrityError says where its first damaged sample lies.
    """

    url: str
    artifact: Artifact
    cache: Path
    fits: bool
    """Whether the cache can hold all shards of this set."""
    _open: OpenFiles = field(init=False)
    _ahead: dict[Place, bytes] = field(default_factory=dict, init=False)
    """What `prepare` fetched and nobody has read yet."""
    _storage: tuple[int, Storage] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._open = OpenFiles(self.cache)

    @property
    def advice(self) -> str:
        return f"upload it to {self.url} again from where it was made, then run this again"

    def read(self, shard: str, offset: int, length: int) -> bytes:
        if not self.fits:
            ahead = self._ahead.pop((shard, offset, length), None)
            return self._connected().read(shard, offset, length) if ahead is None else ahead
        name = self._path(shard).name
        while not self._open.holds(name):
            self._fetch(shard)
            with suppress(FileNotFoundError):  # another process trimmed the cache
                os.utime(self._path(shard))  # the times of access that the system keeps are coarse, or none
                self._open.open(name)
        return self._open.read(name, offset, length)

    def renew(self, shard: str) -> None:
        self._open.close(self._path(shard).name)
        self._path(shard).unlink(missing_ok=True)

    def prepare(self, places: Sequence[Place]) -> None:
        self._connected()
        with ThreadPoolExecutor(_FETCHES) as pool:
            if self.fits:
                absent = {shard for shard, _, _ in places if not self._path(shard).exists()}
                list(pool.map(self._fetch, sorted(absent)))
            else:
                found = pool.map(lambda place: self._connected().read(*place), places)
                self._ahead = dict(zip(places, found, strict=True))

    def _connected(self) -> Storage:
        """The object store; a forked process has connections of its own."""
        if self._storage is None or self._storage[0] != os.getpid():
            self._storage = os.getpid(), open_storage(self.url)
        return self._storage[1]

    def _path(self, shard: str) -> Path:
        return self.cache / f"{self.artifact.files[shard]}.tar"

    def _fetch(self, shard: str) -> None:
        """Put a shard into the cache, once for all processes of this machine."""
        path = self._path(shard)
        while not path.exists():
            with exclusive(self.cache / "locks" / path.stem, wait=False) as is_mine:
                if is_mine and not path.exists():
                    for partial in self.cache.glob(f".{path.name}.*"):  # of a process that was killed meanwhile
                        partial.unlink()
                    atomic_write(path, self._whole(shard))
                    _trim(self.cache, keep=path)
            if not is_mine:
                time.sleep(0.02)

    def _whole(self, shard: str) -> bytes:
        for _ in range(2):
            data = self._connected().read(shard)
            if hashlib.sha256(data).hexdigest() == self.artifact.files[shard]:
                return data
        kept = self.cache / "quarantine" / shard
        atomic_write(kept, data)
        raise IntegrityError(
            f"{self.url}/{shard} is damaged: it was fetched twice and its sha256 is not that of the manifest; "
            f"{first_damage(data, self.artifact.path, shard)}. {kept} is what came; {self.advice}"
        )


def open_remote_shards(url: str, cache: Path) -> RemoteShards:
    """The shards below `url` (s3://bucket/prefix); their manifest and index are fetched, and checked by their sha256.

    Raises InputError when there are none, IntegrityError when the index is damaged.
    """
    storage = open_storage(url)
    manifest = storage.read(MANIFEST_NAME)
    folder = cache / "indexes" / hashlib.sha256(manifest).hexdigest()
    atomic_write(folder / MANIFEST_NAME, manifest)
    artifact = read_artifact(folder)
    here = [name for name in artifact.files if not name.endswith(".tar")]

    def fetch(name: str) -> None:
        path = folder / name
        if path.exists() and file_sha256(path) == artifact.files[name]:
            return
        data = storage.read(name)
        if hashlib.sha256(data).hexdigest() != artifact.files[name]:
            raise IntegrityError(f"{url}/{name} is not the file of {MANIFEST_NAME}; upload the folder again")
        atomic_write(path, data)

    with ThreadPoolExecutor(_FETCHES) as pool:
        list(pool.map(fetch, here))
    return RemoteShards(url, artifact, cache, sum(artifact.sizes.values()) <= _limit())


def _limit() -> int:
    value = os.environ.get(LIMIT_VARIABLE, "50")
    try:
        return int(float(value) * 1e9)
    except (ValueError, OverflowError):
        raise ParamsError(f"{LIMIT_VARIABLE} is {value!r}; it is a number of 10^9 bytes, for example 50") from None


def _trim(cache: Path, *, keep: Path) -> None:
    """Delete the shards that were opened longest ago, until the others are within the limit; but not `keep`, whose time
    is the earliest if the clock was put back.
    """
    held = []
    for path in cache.glob("*.tar"):
        try:
            state = path.stat()
        except FileNotFoundError:  # another process trims too
            continue
        held.append((state.st_mtime_ns, state.st_size, path))
    excess = sum(size for _, size, _ in held) - _limit()
    for _, size, path in sorted(held):
        if excess <= 0:
            break
        if path == keep:
            continue
        path.unlink(missing_ok=True)
        excess -= size
