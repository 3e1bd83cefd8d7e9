"""Local folders and s3:// behind one small interface, and the atomic write that everything else uses."""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmada.errors import InputError, MmadaError, StorageError
from mmada.s3_errors import explain_s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one, also after a power cut."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` by a hard link, or by a copy across file systems."""
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            shutil.copyfile(source, target)


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


@contextmanager
def exclusive(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `lock`; whoever wants it too waits. It is free again when its holder ends, however it ends.

    Gives whether it is held: always, unless it was not to be waited for.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
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


@dataclass(frozen=True)
class S3Storage:
    """Objects below `prefix` of an S3 bucket. Every method raises StorageError when the store refuses or is away."""

    bucket: str
    prefix: str
    client: "S3Client"

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        stop = "" if length is None else str(start + length - 1)
        wanted = f"bytes={start}-{stop}"
        with self._explained(name):
            try:
                return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, Range=wanted)["Body"].read()
            except self.client.exceptions.NoSuchKey:
                raise InputError(f"{self._url(name)} does not exist") from None

    def write(self, name: str, data: bytes) -> None:
        with self._explained(name):
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)

    def names(self, prefix: str = "") -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._explained(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self.prefix)

    def _explained(self, name: str) -> AbstractContextManager[None]:
        return explain_s3_errors(self._url(name), self.client.meta.endpoint_url)

    def _url(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"


def open_storage(url: str) -> Storage:
    """Storage at a local folder or at `s3://bucket/prefix` (retries with backoff are boto3's).

    Credentials and endpoint come from the AWS_* environment as it is now; StorageError when it contradicts itself.
    """
    if not url.startswith("s3://"):
        return LocalStorage(Path(url))
    import boto3
    from botocore.config import Config

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    # Six tries wait about 10 s in all for a store that is away. boto3 would let our number hide the user's variable.
    tries = int(os.environ.get("AWS_MAX_ATTEMPTS", "6"))
    # Threads share a client; with fewer connections than threads, boto3 opens new ones all the time, and says so.
    config = Config(retries={"mode": "standard", "total_max_attempts": tries}, max_pool_connections=128)
    with explain_s3_errors(url, os.environ.get("AWS_ENDPOINT_URL", "AWS")):
        # A session of its own: boto3's default one keeps the first credentials that it ever saw.
        client = boto3.Session().client("s3", config=config)
    return S3Storage(bucket, prefix.rstrip("/") + "/" if prefix else "", client)
