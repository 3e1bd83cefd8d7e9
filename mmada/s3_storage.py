"""Objects of an S3 bucket: whole, in pieces of one version, listed. What falters is tried again; the rest is explained.

boto3 retries requests that are refused or not answered; bodies that end before their time are left to its caller.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmada.environment import whole_number
from mmada.errors import InputError, StorageError
from mmada.s3_errors import explain_s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_GONE: Final = ("NoSuchKey", "NoSuchVersion", "404")
_CHANGED: Final = ("PreconditionFailed", "412")
_CONNECTIONS: Final = 32
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two tries of one body."""


@dataclass(frozen=True)
class ObjectVersion:
    """What an object is at one time. `etag` is without quotes; `version_id` is "" in a bucket without versions."""

    size: int
    etag: str
    version_id: str = ""


@dataclass(frozen=True)
class S3Storage:
    """Objects below `prefix` of an S3 bucket (see storage.Storage).

    Every method raises StorageError when the store refuses or is away, `transient` where a later try may succeed.
    """

    bucket: str
    prefix: str
    client: "S3Client"
    tries: int
    """How often a request, or the reading of one body, is tried."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return b"" if length == 0 else self._get(name, start, length, None)[0]

    def read_version(self, name: str, version: ObjectVersion, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of the very version. Raises InputError when the object is another or gone."""
        data, found = self._get(name, start, length, version)
        if (found.size, found.etag) != (version.size, version.etag):
            raise InputError(f"{self.url(name)} has changed: it is now {found.size} bytes with ETag {found.etag}")
        return data

    def version(self, name: str) -> ObjectVersion:
        """What an object is now. Raises InputError when it does not exist."""
        with self._explained(name):
            head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        return ObjectVersion(head["ContentLength"], head["ETag"].strip('"'), _version_id(head.get("VersionId")))

    def write(self, name: str, data: bytes) -> None:
        with self._explained(name):
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)

    def upload(self, name: str, path: Path) -> None:
        with self._explained(name):
            self.client.upload_file(str(path), self.bucket, self.prefix + name)

    def download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(name):
            self.client.download_file(self.bucket, self.prefix + name, str(path))

    def delete(self, name: str) -> None:
        with self._explained(name):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return (name for name, _ in self.listing(prefix))

    def listing(self, prefix: str = "") -> Iterator[tuple[str, ObjectVersion]]:
        """Names that begin with `prefix`, sorted, each with what it is now (but for the version's id)."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._explained(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self.prefix), ObjectVersion(item["Size"], item["ETag"].strip('"'))

    def url(self, name: str) -> str:
        """Address of an object."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def _get(
        self, name: str, start: int, length: int | None, version: ObjectVersion | None
    ) -> tuple[bytes, ObjectVersion]:
        """Bytes of an object and what it is; a body that is cut short is asked for again."""
        from botocore.exceptions import (
            FlexibleChecksumError,
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        broken = (FlexibleChecksumError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
        for failed in range(self.tries):
            with self._explained(name):
                answer = self._ask(name, start, length, version)
                try:
                    data = answer["Body"].read()
                except broken:
                    data = None
            size = int(answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"])
            wanted = size - start if length is None else min(length, size - start)
            if data is not None and len(data) == wanted:
                return data, ObjectVersion(size, answer["ETag"].strip('"'), _version_id(answer.get("VersionId")))
            time.sleep(random.uniform(0.5, 1) * min(0.1 * 2**failed, _LONGEST_PAUSE))
        raise StorageError(
            f"{self.url(name)} at {self.client.meta.endpoint_url}: the answer was cut short {self.tries} times; run "
            "again later, nothing that was finished is lost",
            transient=True,
        )

    def _ask(
        self, name: str, start: int, length: int | None, version: ObjectVersion | None
    ) -> "GetObjectOutputTypeDef":
        choices: dict[str, str] = {}
        if start or length is not None:  # a range of an empty object is refused
            choices["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        if version is not None:
            choices["IfMatch"] = f'"{version.etag}"'
        if version is not None and version.version_id:
            choices["VersionId"] = version.version_id
        return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, **choices)  # type: ignore[arg-type]  # a typed dictionary of options

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        from botocore.exceptions import ClientError

        with explain_s3_errors(self.url(name), self.client.meta.endpoint_url):
            try:
                yield
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in _GONE:
                    raise InputError(f"{self.url(name)} does not exist") from None
                if code in _CHANGED:
                    raise InputError(f"{self.url(name)} has changed") from None
                raise


def open_s3(url: str) -> S3Storage:
    """Storage at `s3://bucket/prefix`. Requests are tried AWS_MAX_ATTEMPTS times, with growing pauses.

    Credentials and endpoint come from the AWS_* environment as it is now; StorageError when it contradicts itself,
    ParamsError when AWS_MAX_ATTEMPTS is no number.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    # Six tries wait about 10 s in all for a store that is away. boto3 would let our number hide the user's variable.
    tries = whole_number("AWS_MAX_ATTEMPTS", default=6, least=1)
    said = tuple(
        sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_") or name == "HOME")
    )
    with explain_s3_errors(url, os.environ.get("AWS_ENDPOINT_URL", "AWS")):
        client = _client(tries, said, os.getpid())
    return S3Storage(bucket, prefix.rstrip("/") + "/" if prefix else "", client, tries)


@lru_cache(maxsize=16)
def _client(tries: int, said: tuple[tuple[str, str], ...], process: int) -> "S3Client":
    """A client for all threads of one process under one environment: making one takes a quarter of a second."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "total_max_attempts": tries}, max_pool_connections=_CONNECTIONS)
    # A session of its own: boto3's default one keeps the first credentials that it ever saw.
    return boto3.Session().client("s3", config=config)


def _version_id(found: str | None) -> str:
    return "" if found in (None, "null") else str(found)
