"""Pin a corpus that lies in an object store: list it once, read each object once, write down what was there."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmada.errors import InputError
from mmada.progress import progress_bar
from mmada.s3_storage import ObjectVersion, S3Storage, open_s3
from mmada.sources.pins import SUFFIX, Pin, PinnedFolder, matches, read_pins, shared_storage, write_pins
from mmada.storage import explain_os_errors

_READERS: Final = 16
_PIECE: Final = 8 << 20


@dataclass(frozen=True)
class Pinned:
    """What a pins file names now, and how much of it was read for that."""

    objects: int
    bytes: int
    bytes_read: int


def pin(url: str, out: Path, pattern: str) -> Pinned:
    """Write the pins of every object below `url` whose name `pattern` matches to `out`.

    Objects that `out`, or a run that was interrupted, has pinned as they are now are not read again. Raises InputError
    when there is nothing to pin or an object changes meanwhile, StorageError when the store fails.
    """
    if not url.startswith("s3://") or not out.name.endswith(SUFFIX):
        raise InputError(f"mmada pin takes s3://<bucket>/<prefix> and a file <corpus>{SUFFIX}, not {url} and {out}")
    storage = open_s3(url)
    # Consoles make empty objects that stand for folders, one of the prefix itself, whose name is empty below it.
    objects = [(name, version) for name, version in storage.listing() if name and not name.endswith("/")]
    listed = {name: version for name, version in objects if matches(name, pattern)}
    if not listed:
        raise InputError(f"{storage.url('')}: no object below it matches {pattern!r}; mend the address or the pattern")
    journal = out.with_name(f".{out.name}.partial")
    known = _known(out, journal, storage.url(""))
    pins = {name: known[name] for name, version in listed.items() if _is_same(known.get(name), version, storage)}
    missing = [name for name in listed if name not in pins]
    size = sum(listed[name].size for name in missing)
    with explain_os_errors(out):
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a") as done, progress_bar(f"pin {url}", size, "byte") as bar:
            for found in _read_all(storage, missing):
                pins[found.name] = found
                done.write(json.dumps([storage.url(""), vars(found)]) + "\n")
                done.flush()
                bar.update(found.bytes)
    write_pins(PinnedFolder(out, storage.url(""), pattern, pins))
    journal.unlink(missing_ok=True)  # another that pins the same may have been quicker
    return Pinned(len(pins), sum(one.bytes for one in pins.values()), size)


def _read_all(storage: S3Storage, missing: Sequence[str]) -> Iterator[Pin]:
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            yield from pool.map(lambda name: _read(storage, name), missing)
        finally:
            pool.shutdown(cancel_futures=True)


def object_sha256(location: str) -> str:
    """sha256 of what now lies at s3://bucket/name. Raises InputError when nothing does."""
    bucket, _, name = location.removeprefix("s3://").partition("/")
    return _read(shared_storage(f"s3://{bucket}"), name).sha256


def _read(storage: S3Storage, name: str) -> Pin:
    version = storage.version(name)
    digest = hashlib.sha256()
    for start in range(0, version.size, _PIECE):
        digest.update(storage.read_version(name, version, start, min(_PIECE, version.size - start)))
    return Pin(name, version.size, version.etag, version.version_id, digest.hexdigest())


def _known(out: Path, journal: Path, url: str) -> dict[str, Pin]:
    """Pins of earlier runs, by name."""
    known: dict[str, Pin] = {}
    if out.exists():
        before = read_pins(out)
        known.update(before.pins if before.url == url else {})
    for line in journal.read_text().splitlines() if journal.exists() else ():
        try:
            place, entry = json.loads(line)
        except ValueError:  # the last line of a run that was killed while it wrote
            continue
        if place == url:
            known[entry["name"]] = Pin(**entry)
    return known


def _is_same(pin: Pin | None, listed: ObjectVersion, storage: S3Storage) -> bool:
    """Whether an object is still what its pin says; a listing does not tell the version's id."""
    if pin is None or (pin.bytes, pin.etag) != (listed.size, listed.etag):
        return False
    return not pin.version_id or storage.version(pin.name) == pin.version()
