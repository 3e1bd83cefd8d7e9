"""Corpora that stay in an object store give what they give on a disk, also from a store that falters."""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mmada.cli import app
from mmada.contracts.ingested import read_dropped, read_pictures, read_records
from mmada.errors import InputError, StorageError
from mmada.params_data import Corpus
from mmada.s3_storage import ObjectVersion, S3Storage
from mmada.sources import pinning
from mmada.sources.adapters import ADAPTERS
from mmada.sources.pinning import object_sha256, pin
from mmada.sources.pins import Pin, matches, read_pins
from mmada.sources.raw_files import LocalFolder, RawFile
from mmada.stage_report import StageReport
from mmada.stages.ingest import ingest
from mmada.unit_store import UnitStore
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.services import S3Server
from tests.sources.reading_rows import LIMITS
from tests.sources.test_adapters import write_tar
from tests.stages.test_ingest import LIMITS as INGEST
from tests.stages.test_ingest import png


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A store behind a proxy that does not falter yet, with the variables set that lead to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MMADA_WORKERS", "1")
    with faulty_proxy(s3_server.endpoint) as running:
        for name, value in {**s3_server.variables, "AWS_ENDPOINT_URL": running.endpoint}.items():
            monkeypatch.setenv(name, value)
        yield running


class Bucket:
    """A bucket of its own, written to directly."""

    def __init__(self, server: S3Server, *, versioned: bool = False) -> None:
        self.url = server.make_bucket(f"corpus-{uuid.uuid4().hex[:8]}") + "/raw/"
        session = boto3.Session(*(server.variables[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")))
        self._client = session.client("s3", endpoint_url=server.endpoint, region_name="us-east-1")
        self._name = self.url.split("/")[2]
        if versioned:
            self._client.put_bucket_versioning(Bucket=self._name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=f"raw/{name}", Body=data)

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=f"raw/{name}")

    def put_folder(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return Bucket(s3_server)


def _contents(file: RawFile, adapter: str) -> list[tuple[str, int, object]]:
    reader, limits = ADAPTERS[adapter], replace(LIMITS, rows_per_unit=300)
    return [
        (span.digest, span.first_row + raw.row, raw.content)
        for span in reader.split(file, limits)
        for raw in reader.read(span, limits)
    ]


def test_every_adapter_reads_an_object_as_it_reads_a_file(tmp_path: Path, bucket: Bucket, proxy: FaultyProxy) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [{"text": f"t{n}", "picture": "x" * 1500} for n in range(600)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rows.json").write_text(json.dumps(rows, indent=1))
    (folder / "rows.csv").write_text("text\n" + "".join(f"{row['text']}\n" for row in rows))
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet", row_group_size=250)
    with pa.ipc.new_stream(str(folder / "rows.arrow"), pa.Table.from_pylist(rows).schema) as table:
        table.write_table(pa.Table.from_pylist(rows), max_chunksize=150)
    members = [(f"{n:04d}.{kind}", kind.encode() * 300) for n in range(200) for kind in ("txt", "png")]
    write_tar(folder / "samples.tar", members)
    write_tar(folder / "samples.tgz", members, "w:gz")
    bucket.put_folder(folder)
    proxy.every = 10
    pin(bucket.url, tmp_path / "c.pins.json", "**/*")
    pinned = read_pins(tmp_path / "c.pins.json")
    for name, adapter in {
        "rows.jsonl": "jsonl", "rows.json": "json", "rows.csv": "image_folder", "rows.parquet": "parquet",
        "rows.arrow": "arrow", "samples.tar": "webdataset", "samples.tgz": "webdataset",
    }.items():  # fmt: skip
        local, remote = LocalFolder(folder).find(name), pinned.find(name)
        assert local is not None
        assert remote is not None
        assert (remote.size, remote.sha256()) == (local.size, local.sha256())
        assert _contents(remote, adapter) == _contents(local, adapter), name
    assert object_sha256(f"{bucket.url}rows.jsonl") == pinned.pins["rows.jsonl"].sha256
    with pytest.raises(InputError, match="does not exist"):
        object_sha256(f"{bucket.url}other.jsonl")


def _ingest(tmp_path: Path, name: str, path: Path) -> tuple[Path, StageReport]:
    corpus = Corpus(
        path=str(path), files="rows/*.jsonl", format="jsonl", task="mmu", source="made here", licence="CC0-1.0",
        columns={"prompt": "q", "response": "a", "image": "i"}, image_path="pictures/{}.png",
    )  # fmt: skip
    out = tmp_path / name
    out.mkdir()
    limits = INGEST.model_copy(update={"rows_per_unit": 10})
    return out, ingest(out=out, key="c", corpora=corpus, ingest=limits, store=UnitStore(tmp_path / f"units-{name}"))


def _make_corpus(folder: Path) -> None:
    (folder / "rows").mkdir(parents=True)
    (folder / "pictures").mkdir()
    for n in range(20):
        (folder / f"pictures/{n}.png").write_bytes(png(n))
    for part in range(2):
        rows = [{"q": f"{part} {n}", "a": "x", "i": n} for n in range(21)]  # there is no picture 20
        (folder / f"rows/{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_ingest_from_a_faltering_store_equals_ingest_from_a_disk(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy
) -> None:
    _make_corpus(tmp_path / "raw")
    bucket.put_folder(tmp_path / "raw")
    pins = tmp_path / "c.pins.json"
    pin(bucket.url, pins, "**/*")
    proxy.requests.clear()
    proxy.every = 10
    local, local_report = _ingest(tmp_path, "local", tmp_path / "raw")
    remote, remote_report = _ingest(tmp_path, "remote", pins)
    assert proxy.requests["LIST"] == 0
    assert proxy.requests["refused"] > 1
    assert proxy.requests["cut"] > 1
    assert remote_report.dropped == local_report.dropped == {"image_missing": 2}
    for read in (read_records, read_pictures, read_dropped):
        assert read(remote, "remote").equals(read(local, "local"))
    places = {path.removeprefix(bucket.url): sha for path, sha in remote_report.raw_files.items()}
    assert places == {path.removeprefix(f"{tmp_path}/raw/"): sha for path, sha in local_report.raw_files.items()}


@pytest.mark.parametrize(
    ("name", "change"), [("rows/0.jsonl", "other bytes"), ("rows/1.jsonl", "gone"), ("pictures/3.png", "other size")]
)
def test_an_object_that_is_not_what_was_pinned_is_refused(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, name: str, change: str
) -> None:
    _make_corpus(tmp_path / "raw")
    bucket.put_folder(tmp_path / "raw")
    pin(bucket.url, tmp_path / "c.pins.json", "**/*")
    data = (tmp_path / "raw" / name).read_bytes()
    if change == "gone":
        bucket.delete(name)
    else:
        bucket.put(name, data[::-1] if change == "other bytes" else data + b"\n")
    with pytest.raises(
        InputError, match=rf"{name} .*run `mmada pin {bucket.url} \S*c\.pins\.json --pattern '\*\*/\*'`"
    ):
        _ingest(tmp_path, "out", tmp_path / "c.pins.json")


def test_pins_are_deterministic_hold_no_secret_and_cost_only_what_is_new(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy
) -> None:
    for n in range(6):
        bucket.put(f"part/{n}.jsonl", b"{}\n" * (n + 1))
    bucket.put("empty.jsonl", b"")
    first, second = tmp_path / "a.pins.json", tmp_path / "b.pins.json"
    assert pin(bucket.url, first, "**/*").objects == 7
    assert pin(bucket.url.rstrip("/"), second, "**/*").bytes_read == sum(3 * (n + 1) for n in range(6))
    assert first.read_bytes() == second.read_bytes()
    assert not any(secret in first.read_text() for secret in ("testkey", "testsecret", "127.0.0.1"))
    said = CliRunner().invoke(app, ["pin", bucket.url, str(second), "--pattern", "part/*"])
    assert "pins 6 objects, 63 bytes (0 read)" in said.output
    bucket.put("part/3.jsonl", b"[]")
    assert pin(bucket.url, first, "**/*").bytes_read == 2
    with pytest.raises(InputError, match="no object below it matches"):
        pin(bucket.url, first, "*.tar")


def test_a_pin_that_was_interrupted_goes_on(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(9):
        bucket.put(f"{n}.txt", b"x")
    read = pinning._read

    def broken(storage: object, name: str) -> Pin:
        if name == "5.txt":
            raise KeyboardInterrupt
        return read(storage, name)  # type: ignore[arg-type]  # a storage

    monkeypatch.setattr(pinning, "_read", broken)
    out = tmp_path / "c.pins.json"
    with pytest.raises(KeyboardInterrupt):
        pin(bucket.url, out, "*")
    assert not out.exists()
    with (tmp_path / ".c.pins.json.partial").open("a") as journal:
        journal.write('["s3://cut')
    monkeypatch.setattr(pinning, "_read", read)
    assert pin(bucket.url, out, "*").bytes_read == 4
    assert [path.name for path in tmp_path.iterdir()] == ["c.pins.json"]


def test_pins_that_cannot_be_written_or_are_damaged_say_what_to_do(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy
) -> None:
    bucket.put("a.jsonl", b"{}\n")
    with pytest.raises(StorageError, match=r"may not write /sys/c\.pins\.json"):
        pin(bucket.url, Path("/sys/c.pins.json"), "*")
    (tmp_path / "c.pins.json").write_text("<<<<<<< HEAD\n")
    with pytest.raises(InputError, match="delete it and make it again"):
        pin(bucket.url, tmp_path / "c.pins.json", "*")


def test_objects_that_stand_for_folders_are_no_files(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.jsonl", b"{}\n")
    listing = S3Storage.listing

    def with_folders(storage: S3Storage, prefix: str = "") -> Iterator[tuple[str, ObjectVersion]]:
        yield from (("", ObjectVersion(0, "e")), ("sub/", ObjectVersion(0, "e")), *listing(storage, prefix))

    monkeypatch.setattr(S3Storage, "listing", with_folders)  # rclone, which serves the store, has none
    assert pin(bucket.url, tmp_path / "c.pins.json", "**/*").objects == 1


def test_two_may_pin_the_same_at_once(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.jsonl", b"{}\n")
    out, read = tmp_path / "c.pins.json", pinning._read

    def beside_another(storage: S3Storage, name: str) -> Pin:
        monkeypatch.setattr(pinning, "_read", read)
        assert pin(bucket.url, out, "*").objects == 1
        return read(storage, name)

    monkeypatch.setattr(pinning, "_read", beside_another)
    assert pin(bucket.url, out, "*").objects == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.pins.json"]


def test_a_store_that_stays_broken_is_a_transient_error_that_holds_no_secret(
    tmp_path: Path, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.jsonl", b"{}\n" * 100)
    pin(bucket.url, tmp_path / "c.pins.json", "*")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    (file,) = read_pins(tmp_path / "c.pins.json").files("*")
    proxy.every = 1
    for fault, said in (("cut", "cut short 2 times"), ("refused", "overloaded")):
        proxy.faults = [fault]
        with pytest.raises(StorageError, match=said) as caught, file.open() as stream:
            stream.read()
        assert caught.value.transient
        assert "testsecret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"url": "s3://a/"}', '{"url": "s3://a/", "objects": [{"name": "a"}]}'])
def test_a_file_that_pins_nothing_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.pins.json"
    path.write_text(text)
    with pytest.raises(InputError, match="mmada pin"):
        read_pins(path)


def test_patterns_mean_what_they_mean_on_a_disk(tmp_path: Path) -> None:
    names = ["a.txt", "b/a.txt", "b/c/a.txt", "b/c/d.tar", "x[1].txt", ".hidden/a.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("**/*", "*", "*.txt", "b/*", "b/**/*.txt", "**/c/*", "?.txt", "b/[a-c]/*", "**/a.txt", "*/*"):
        found = [file.name for file in LocalFolder(tmp_path).files(pattern)]
        assert sorted(name for name in names if matches(name, pattern)) == sorted(found), pattern


def test_a_pinned_version_is_read_whatever_came_after_it(
    versioned_s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in versioned_s3_server.variables.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(versioned_s3_server, versioned=True)
    for name in ("changed.jsonl", "deleted.jsonl", "kept.jsonl"):
        bucket.put(name, f'{{"text": "{name}"}}\n'.encode())
    pins = tmp_path / "c.pins.json"
    pin(bucket.url, pins, "*.jsonl")
    before = {name: one.version_id for name, one in read_pins(pins).pins.items()}
    assert len(set(before.values())) == 3
    assert "" not in before.values()
    bucket.put("changed.jsonl", b'{"text": "other"}\n')
    bucket.delete("deleted.jsonl")
    pinned = read_pins(pins)
    for name in before:
        file = pinned.find(name)
        assert file is not None
        assert [content for _, _, content in _contents(file, "jsonl")] == [{"text": name}]
    bytes_read = pin(bucket.url, pins, "*.jsonl").bytes_read
    after = {name: one.version_id for name, one in read_pins(pins).pins.items()}
    assert bytes_read == len(b'{"text": "other"}\n'), "only what is new is read again"
    assert after.keys() == {"changed.jsonl", "kept.jsonl"}
    assert after["kept.jsonl"] == before["kept.jsonl"]
    assert after["changed.jsonl"] != before["changed.jsonl"]
