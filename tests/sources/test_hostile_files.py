"""Files made to break readers: every row is kept or dropped with a reason, in bounded time and memory."""

import gzip
import io
import json
import struct
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmada.sources.adapters import ADAPTERS
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect, Span
from tests.sources.reading_rows import LIMITS, reasons, rows_of
from tests.sources.test_adapters import write_tar

_ENOUGH = replace(LIMITS, max_row_bytes=1_000_000, max_image_bytes=2_000_000, rows_per_unit=5000)


@contextmanager
def _bounded(*, seconds: float, megabytes: float) -> Iterator[None]:
    """What is done here takes no more than this (tracing of memory makes it several times slower)."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < megabytes, f"{peak:.0f} MB"
    assert time.monotonic() - began < seconds


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_names_of_members_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    names = ["/etc/passwd.txt", "../../up.txt", "a b/v1.5-3.txt", "käse/日本.txt", "x\n.txt", ".hidden", "a/./b.txt"]
    write_tar(path, [(name, b"x") for name in names])
    keys = [content["__key__"] if isinstance(content, dict) else None for _, content in rows_of(path, "webdataset")]
    assert keys == ["/etc/passwd", "../../up", "a b/v1", "käse/日本", "x\n", "a/./b"]  # .hidden has no key
    assert [found.name for found in tmp_path.rglob("*")] == ["shard.tar"]


def test_a_sample_with_two_members_of_one_name_is_dropped_and_interleaved_ones_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, [(name, b"x") for name in ("a.txt", "a.txt", "b.txt", "c.txt", "b.png", "d.txt")])
    rows = rows_of(path, "webdataset")
    assert reasons(rows) == ["malformed_sample", "", "", "", ""]
    assert rows[1][1] == {"__key__": "b", "txt": b"x"}


def test_links_and_devices_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    blocks = [_header(f"{n}.txt", 0, kind) for n, kind in enumerate(kinds)]
    path.write_bytes(b"".join(blocks) + _header("good.txt", 1) + b"x".ljust(512, b"\0") + bytes(1024))
    assert rows_of(path, "webdataset") == [(0, {"__key__": "good", "txt": b"x"})]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [1 << 40, -512, -1])
def test_sizes_that_cannot_be_are_a_cut(tmp_path: Path, kind: bytes, size: int) -> None:
    path = tmp_path / "shard.tar"
    good = _header("good.txt", 1) + b"x".ljust(512, b"\0")
    # tarfile itself refuses to write a negative size
    block = bytearray(_header("huge.txt", 1 << 40, kind))
    block[124:136] = struct.pack(">IQ", 0x80000000, size) if size > 0 else b"\xff" * 4 + struct.pack(">q", size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(good + bytes(block) + good.replace(b"good", b"last") + bytes(1024))
    with _bounded(seconds=5, megabytes=20):
        rows = rows_of(path, "webdataset")
    assert rows[0] == (0, {"__key__": "good", "txt": b"x"})
    assert 1 < len(rows) < 4
    assert set(reasons(rows)[1:]) <= {"archive_truncated", "row_too_long", ""}


def test_a_sparse_giant_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with path.open("wb") as stream:
        stream.write(_header("giant.png", 20 << 30))
        stream.seek(20 << 30, 1)  # a hole: no byte of it is on the disk
        stream.write(_header("good.txt", 1) + b"x".ljust(512, b"\0") + bytes(1024))
    with _bounded(seconds=5, megabytes=20):
        rows = list(ADAPTERS["webdataset"].read(_whole(path), LIMITS))
    assert [raw.content.reason if isinstance(raw.content, Defect) else "" for raw in rows] == ["row_too_long", ""]


def _whole(path: Path) -> Span:
    """The span of a file that is too large to be hashed in a test."""
    return Span(LocalFile(path.parent, path.name), 0, -1, 0, 0, "")


def test_an_archive_that_expands_beyond_reason_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "shard.tgz"
    good = _header("good.txt", 1) + b"x".ljust(512, b"\0")
    zeros = bytes(1 << 20)
    with gzip.open(path, "wb") as stream:
        stream.write(good + _header("big.txt", 16 << 20))
        for _ in range(16):
            stream.write(zeros)
        stream.write(good + _header("bomb.txt", 140 << 20))
        for _ in range(140):
            stream.write(zeros)
        stream.write(good + bytes(1024))
    with _bounded(seconds=30, megabytes=20):
        rows = rows_of(path, "webdataset", _ENOUGH)
    assert reasons(rows) == ["", "row_too_long", "", "row_too_long", "archive_too_large"]


def test_a_compressed_tar_is_cut_into_spans_of_samples(tmp_path: Path) -> None:
    path = tmp_path / "shard.tgz"
    write_tar(path, [(f"{n}.{kind}", kind.encode()) for n in range(50) for kind in ("a", "b")], "w:gz")
    whole = rows_of(path, "webdataset", _ENOUGH)
    assert rows_of(path, "webdataset", replace(_ENOUGH, rows_per_unit=7)) == whole
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    rows = rows_of(path, "webdataset", replace(_ENOUGH, rows_per_unit=7))
    assert reasons(rows)[-1] == "archive_truncated"
    assert rows[:5] == whole[:5]


@pytest.mark.parametrize(("adapter", "megabytes"), [("jsonl", 300), ("json", 50), ("messages", 50)])
def test_a_line_of_300_megabytes_costs_little_memory(tmp_path: Path, adapter: str, megabytes: int) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"a": 1}\n')
        stream.seek(megabytes << 20, 1)  # NUL bytes
        stream.write(b'\n{"a": 2}\n')
    with _bounded(seconds=60, megabytes=20):
        rows = rows_of(path, adapter)
    assert reasons(rows)[1] == "row_too_long"
    assert adapter == "json" or [row for row, _ in rows] == [0, 1, 2]


@pytest.mark.parametrize("adapter", ["jsonl", "json", "messages"])
@pytest.mark.parametrize("depth", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_depth_breaks_nothing(tmp_path: Path, adapter: str, depth: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(depth)
    assert set(reasons(rows_of(path, adapter, _ENOUGH))) == {"malformed_json"}


def test_encodings_and_odd_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"a": "käse"}, ensure_ascii=False) + "\n"
    path.write_text("\ufeff" + line * 2, encoding="utf-8")
    assert [content for _, content in rows_of(path, "jsonl")] == [{"a": "käse"}] * 2
    for encoding in ("utf-16", "utf-16-be", "utf-32", "latin-1"):
        path.write_bytes((line * 2).encode(encoding))
        assert set(reasons(rows_of(path, "jsonl"))) == {"malformed_json"}, encoding
    path.write_bytes(b'{"a": "\0"}\n\0\0\n{"a": "\\u0000"}\n')
    assert reasons(rows_of(path, "jsonl")) == ["malformed_json", "malformed_json", ""]
    table = tmp_path / "rows.csv"
    table.write_text("\ufeffname,text\na,b\n", encoding="utf-8")
    assert rows_of(table, "image_folder") == [(0, {"name": "a", "text": "b"})]


def test_a_table_that_claims_rows_without_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    endless = pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.null(), 1 << 30, [None])], names=["a"])
    with pa.ipc.new_stream(str(path), endless.schema) as writer:
        writer.write_batch(endless)
    assert reasons(rows_of(path, "arrow")) == ["malformed_file"]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["\xe4", "b", "c"]}), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace("\xe4".encode(), b"\xff\xff"))
    assert reasons(rows_of(path, "parquet")) == ["malformed_row", "", ""]


@pytest.mark.parametrize("adapter", ["parquet", "arrow"])
def test_tables_whose_bytes_are_turned_are_rows_or_a_reason(tmp_path: Path, adapter: str) -> None:
    table = pa.table({"text": [f"row {n}" for n in range(200)], "list": [[n] for n in range(200)]})
    sink = io.BytesIO()
    if adapter == "parquet":
        pq.write_table(table, sink, row_group_size=50)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
    good, path = sink.getvalue(), tmp_path / "rows.bin"
    for position in range(0, len(good), max(1, len(good) // 150)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        rows = rows_of(path, adapter, _ENOUGH)
        assert len(rows) >= 1, position
        assert set(reasons(rows)) <= {"", "malformed_file", "malformed_row"}
