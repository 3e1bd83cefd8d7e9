"""Atomic writes, clear errors, and S3 against a real server on loopback."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmada.errors import InputError, ParamsError, StorageError
from mmada.s3_errors import find_refusal, redact
from mmada.stage_report import StageReport, write_report
from mmada.storage import Storage, atomic_write, exclusive, link_or_copy, open_storage
from tests.services import S3Server, free_port


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


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(StorageError, match=r"may not write .*locks/a: .*; mend the permissions"),
        exclusive(tmp_path / "locks/a"),
    ):
        pass
    with pytest.raises(StorageError, match=r"may not write .*report\.json: .*; mend the permissions"):
        write_report(StageReport(), tmp_path / "reports/report.json", seconds=1, output_id="0")


def test_a_copy_in_place_of_a_link_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"all of it")

    def on_another_disk(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def cut_short(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"all")
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", on_another_disk)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", cut_short)
        with pytest.raises(KeyboardInterrupt):
            link_or_copy(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"all of it"


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3:// address of an empty bucket on a real server, with the variables set that open it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(f"bucket-{uuid.uuid4().hex[:8]}") + "/below"


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


def _use(storage: Storage) -> list[Callable[[], object]]:
    return [lambda: storage.read("a"), lambda: storage.write("a", b"x"), lambda: list(storage.names())]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrongsecret"}, "correct AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_refused_key_names_the_variable_and_no_secret(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str | None], message: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.aws of this machine
    for name, value in change.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    for use in _use(open_storage(bucket)):
        with pytest.raises(StorageError, match=message) as caught:
            use()
        assert bucket in str(caught.value)
        assert os.environ["AWS_ENDPOINT_URL"] in str(caught.value)
        assert "wrongsecret" not in str(caught.value), "the value of a secret is never printed"


def test_a_missing_bucket_is_named(bucket: str) -> None:
    for use in _use(open_storage("s3://no-such-bucket/below")):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/below.*create it"):
            use()


def test_a_store_that_is_away_names_its_address(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match="correct AWS_ENDPOINT_URL") as caught:
        open_storage(bucket).read("a")
    assert endpoint in str(caught.value)


def test_a_number_of_tries_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(ParamsError, match="AWS_MAX_ATTEMPTS is 'many'"):
        open_storage("s3://bucket/prefix")


@pytest.mark.parametrize(
    ("variable", "value"), [("AWS_ENDPOINT_URL", "127.0.0.1:9000"), ("AWS_PROFILE", "no-such-profile")]
)
def test_a_wrong_setting_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StorageError, match=variable):
        open_storage(bucket).read("a")


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("An error occurred (InvalidAccessKeyId) when calling the PutObject operation", "AWS_ACCESS_KEY_ID"),
        ("An error occurred (ExpiredToken) when calling the GetObject operation", "AWS_SESSION_TOKEN"),
        ("An error occurred (AccessDenied) when calling the PutObject operation: Access Denied", "AWS_PROFILE"),
        ("unexpected error - Forbidden: An error occurred (403) when calling HeadObject", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_refusals_of_other_stores_are_known_by_their_codes(text: str, variable: str) -> None:
    refusal = find_refusal(text)
    assert refusal is not None
    assert variable in refusal.advice
    assert not refusal.transient


def test_redaction_hides_secrets_and_passwords_in_urls() -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": "hidden/1", "AWS_SESSION_TOKEN": "hidden2", "AWS_DEFAULT_REGION": "here"}
    text = redact("hidden/1 hidden2 here https://user:password@host/x.git", environment)
    assert text == "<AWS_SECRET_ACCESS_KEY> <AWS_SESSION_TOKEN> here https://***@host/x.git"


def test_many_may_write_one_file_at_once(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            atomic_write(tmp_path / "file", bytes([number]) * 1000, durable=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(set((tmp_path / "file").read_bytes())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_scheme_that_is_not_spoken_is_refused_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="gs:// is neither"):
        open_storage("gs://bucket/prefix").write("a", b"1")
    assert list(tmp_path.iterdir()) == []
