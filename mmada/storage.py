"""Local folders and s3:// behind one small interface, and the atomic write that everything else uses."""

import errno
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmada.errors import InputError, MmadaError, StorageError
from mmada.s3_storage import open_s3

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn 'no space', 'read-only' and 'permission denied' into a StorageError that says what to do."""
    try:
        yield
    except MmadaError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # Writers in other languages (parquet, safetensors) report a full disk by their own exceptions.
        if number in _NO_SPACE or "No space left on device" in str(error):
            raise StorageError(
                f"no disk space left while writing {path}; free some space (`dvc gc --workspace` drops old "
                "versions) and run the same command again: finished work is kept"
            ) from error
        if number in _NOT_ALLOWED:
            raise StorageError(f"may not write {path}: {error}; mend the permissions and run again") from error
        raise


def atomic_write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one; if `durable`, also after a power
    cut (which may leave another file torn, and costs a wait for the disk).
    """
    with _whole(path) as partial, partial.open("wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to be written, which takes the place of `path` when it is whole, and goes when it is not."""
    # Not named by the process: containers that share a folder give theirs the same numbers.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` by a hard link, or by a copy across file systems, whole or not at all."""
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            _copy(source, target)


def link_tree(source: Path, target: Path, *, leave_out: frozenset[str] = frozenset()) -> None:
    """Every file below `source`, but those named in `leave_out`, also below `target`: links, copies where need be."""
    for file in sorted(path for path in source.rglob("*") if path.is_file() and path.name not in leave_out):
        place = target / file.relative_to(source)
        if not place.exists():
            link_or_copy(file, place)


def settle(partial: Path, target: Path) -> None:
    """Give a finished folder its final name, which says what it holds: where it is taken, the same is there already.

    Several processes may settle the same content at once.
    """
    try:
        partial.rename(target)
    except OSError:
        if not target.exists():  # anything but that another was quicker
            raise
        shutil.rmtree(partial)


def machine_folder() -> Path:
    """What work for projects that have no folder on this machine goes to: `mmada` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mmada"


@contextmanager
def exclusive(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `lock`; whoever wants it too waits. It is free again when its holder ends, however it ends.

    Gives whether it is held: always, unless it was not to be waited for.
    """
    with explain_os_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            sys.stderr.write(f"{lock.name}: another process is at it; waiting for it to end\n")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield True


class Storage(Protocol):
    """A flat namespace of byte strings; names use '/' and are relative."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of an object. Raises InputError when it does not exist."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace an object atomically."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """Names that begin with `prefix`, sorted."""
        ...

    def upload(self, name: str, path: Path) -> None:
        """Replace an object by the file at `path`, which may be larger than memory."""
        ...

    def download(self, name: str, path: Path) -> None:
        """Write an object to the file `path`. Raises InputError when it does not exist."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object if it is there."""
        ...


@dataclass(frozen=True)
class LocalStorage:
    """Objects are files below `root`."""

    root: Path

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            with (self.root / name).open("rb") as stream:
                stream.seek(start)
                return stream.read(-1 if length is None else length)
        except FileNotFoundError:
            raise InputError(f"{self.root / name} does not exist") from None

    def write(self, name: str, data: bytes) -> None:
        atomic_write(self.root / name, data)

    def names(self, prefix: str = "") -> Iterator[str]:
        files = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return iter(sorted(name for name in files if name.startswith(prefix)))

    def upload(self, name: str, path: Path) -> None:
        _copy(path, self.root / name)

    def download(self, name: str, path: Path) -> None:
        try:
            _copy(self.root / name, path)
        except FileNotFoundError:
            raise InputError(f"{self.root / name} does not exist") from None

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Make `target` a copy of its own, whole or not at all."""
    with _whole(target) as partial:
        shutil.copyfile(source, partial)


def open_storage(url: str) -> Storage:
    """Storage at a local folder or at `s3://bucket/prefix` (see s3_storage.open_s3). Raises InputError for others."""
    if url.startswith("s3://"):
        return open_s3(url)
    scheme, mark, _ = url.partition("://")
    if mark:  # as a path it would be a folder `gs:` here, which nobody shares
        raise InputError(f"storage is a folder or s3://bucket/prefix, and {scheme}:// is neither")
    return LocalStorage(Path(url))
