"""Every kind of corruption is found, with file and offset; whole shards have none."""

import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from mmada.contracts.sample import pack
from mmada.contracts.tables import write_table
from mmada.errors import InputError
from mmada.lineage.manifest import write_manifest
from mmada.shards import check
from mmada.shards.check import check_shards
from mmada.shards.index import INDEX, index_name
from mmada.shards.plain import is_plain
from mmada.shards.writer import BLOCK, END_OF_TAR, header
from tests.shards.made import make_sample, write_part, write_set

SHARD = "captions-a.tar"
OTHER = "captions-b.tar"
SAMPLES = [make_sample(number) for number in range(6)]
KEY = SAMPLES[2].key


def _member(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _members(number: int) -> list[bytes]:
    return [_member(f"{SAMPLES[number].key}.{end}", data) for end, data in pack(SAMPLES[number]).items()]


START = sum(len(member) for number in (0, 1) for member in _members(number))
"""Offset of the third sample, which is the one that is spoilt."""
BEFORE = _members(0) + _members(1)
AFTER = _members(3)
CODES, JSON = _members(2)


def _spoilt(*members: bytes, end: bytes = END_OF_TAR) -> bytes:
    return b"".join([*BEFORE, *members, *AFTER]) + end


def _other_json(**change: object) -> bytes:
    fields = json.loads(pack(SAMPLES[2])["json"]) | change
    return _member(f"{KEY}.json", json.dumps({k: v for k, v in fields.items() if v is not None}).encode())


def _gnu(name: str, form: int = tarfile.GNU_FORMAT, **change: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        for key, value in change.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(b"data"))
    used = len(stream.getvalue().rstrip(b"\0"))
    return stream.getvalue()[: used + -used % BLOCK]


def _flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


_BAD_CODES = np.full((4, 4), 8192, dtype="<u2").tobytes()
_TWO = b"".join([*_members(0), CODES, *_members(1)])
_END = len(_spoilt(CODES, JSON, end=b""))

# name -> (bytes of the shard, offset of a finding, words of it)
CORRUPTIONS: dict[str, tuple[bytes, int, str]] = {
    "truncated in a member": (_spoilt(CODES, JSON)[: START + BLOCK + 7], START, "truncated"),
    "truncated between samples": (_spoilt(CODES, JSON)[:START], START, "cut off"),
    "no end": (_spoilt(CODES, JSON, end=bytes(BLOCK)), _END, "cut off"),
    "more after the end": (_spoilt(CODES, JSON) + b"x" * BLOCK, _END, "two blocks"),
    "interleaved": (_TWO + JSON + END_OF_TAR, len(_TWO), "interleaved"),
    "duplicate key": (_spoilt(CODES, JSON, *_members(0)), START + len(CODES + JSON), "duplicate"),
    "member twice": (_spoilt(CODES, CODES, JSON), START + len(CODES), "twice"),
    "long key": (_spoilt(_gnu("k" * 120 + ".json")), START, "long name"),
    "key with a dot": (_spoilt(_member("v1.5-3.json", b"{}")), START, "not a WebDataset key|no part of a sample"),
    "key of other letters": (_spoilt(_member("UPPER.json", b"{}")), START, "not a WebDataset key"),
    "pax header": (_spoilt(_gnu(f"{KEY}.json", tarfile.PAX_FORMAT, mtime=1.5)), START, "pax header"),
    "a folder": (_spoilt(_gnu("folder", type=tarfile.DIRTYPE)[:BLOCK]), START, "a folder"),
    "a link": (_spoilt(_gnu("link", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)[:BLOCK]), START, "symbolic"),
    "a time in the header": (_spoilt(_gnu(f"{KEY}.json", tarfile.USTAR_FORMAT, mtime=7)), START, "not as written"),
    "extra member": (_spoilt(CODES, JSON, _member(f"{KEY}.png", b"x")), START + len(CODES + JSON), "no part"),
    "missing json": (_spoilt(CODES), START, "json is missing"),
    "missing codes": (_spoilt(JSON), START, "0 bytes of codes"),
    "code out of range": (_spoilt(_member(f"{KEY}.codes", _BAD_CODES), JSON), START + BLOCK, "no code"),
    "too few codes": (_spoilt(_member(f"{KEY}.codes", _BAD_CODES[:-2]), JSON), START, "30 bytes of codes"),
    "grid of another size": (_spoilt(CODES, _other_json(grid=[5, 4])), START, "32 bytes of codes"),
    "no json": (_spoilt(CODES, _member(f"{KEY}.json", b"{")), START, "no sample"),
    "json that is no object": (_spoilt(CODES, _member(f"{KEY}.json", b"[]")), START, "no sample"),
    "grid that is no grid": (_spoilt(CODES, _other_json(grid="wide")), START, "grid"),
    "field missing": (_spoilt(CODES, _other_json(prompt=None)), START, "missing required field `prompt`"),
    "unknown task": (_spoilt(CODES, _other_json(task="fly")), START, "Invalid enum value 'fly'"),
    "row of another key": (_spoilt(CODES, _other_json(row_id="0" * 64)), START, "its row is 000"),
    "size below zero": (_spoilt(CODES[:124] + b"-0000000001" + CODES[135:], JSON), START, "no tar header"),
    "bit of a header": (_flipped(_spoilt(CODES, JSON), START + 130), START, "not as written|no tar header"),
    "bit of the text": (_flipped(_spoilt(CODES, JSON), START + len(CODES) + BLOCK + 40), START, "bytes of sample"),
    "bit of a picture": (_flipped(_spoilt(CODES, JSON), START + BLOCK + 2), START, "bytes of sample"),
    "bit of the padding": (_flipped(_spoilt(CODES, JSON), START + 2 * BLOCK - 1), START + BLOCK + 32, "padding"),
    "members in another order": (_spoilt(JSON, CODES), START + len(JSON), "order"),
    "samples in another order": (_spoilt(*_members(3), CODES, JSON), START, "index says"),
    "sample missing": (_spoilt(), START, "index says"),
    "sample too many": (_spoilt(CODES, JSON, end=b"".join(_members(5)) + END_OF_TAR), _END, "not in the index"),
}  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_part(tmp_path, SHARD, SAMPLES[:4])
    write_part(tmp_path, OTHER, SAMPLES[4:5])
    write_manifest(tmp_path, stage="write_shards", version=1, metadata={})
    return tmp_path


def test_nothing_is_wrong_with_whole_shards(shards: Path) -> None:
    assert (shards / SHARD).read_bytes() == _spoilt(CODES, JSON)
    assert check_shards(shards) == []
    for name in (SHARD, OTHER):
        assert is_plain(name, (shards / name).read_bytes(), pl.read_parquet(shards / index_name(name)))


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_never_taken_for_plain_also_when_the_index_was_made_of_it(shards: Path, name: str) -> None:
    """The index of damaged bytes, as far as samples still begin where they did."""
    data = CORRUPTIONS[name][0]
    index = pl.read_parquet(shards / index_name(SHARD))
    checksums = [zlib.crc32(data[start : start + length]) for start, length in index.select("offset", "length").rows()]
    assert not is_plain(SHARD, data, index)
    if name not in {"bit of the text", "bit of a picture"}:  # those are sound samples, but other ones
        assert not is_plain(SHARD, data, index.with_columns(crc32=pl.Series(checksums, dtype=pl.UInt32)))


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("hashed", [False, True], ids=["damaged later", "written so"])
def test_a_corruption_is_found_with_its_offset(shards: Path, name: str, hashed: bool) -> None:
    data, offset, words = CORRUPTIONS[name]
    (shards / SHARD).write_bytes(data)
    if hashed:
        write_manifest(shards, stage="write_shards", version=1, metadata={})
    found = check_shards(shards)
    assert [str(one) for one in found if one.offset == offset and any(word in one.problem for word in words.split("|"))]
    assert {one.file for one in found} == {SHARD} or "too many" in name
    assert any("sha256" in one.problem for one in found) != hashed


def _rewrite_index(shards: Path, **change: pl.Expr) -> None:
    path = shards / index_name(SHARD)
    write_table(pl.read_parquet(path).with_columns(**change), path, INDEX)
    write_manifest(shards, stage="write_shards", version=1, metadata={})


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("offset", pl.col("offset") + BLOCK, "is here, the shard holds"),
        ("length", pl.col("length") + BLOCK, "says length"),
        ("crc32", pl.col("crc32") + 1, "not those that the index"),
        ("key", pl.col("key").reverse(), "is here, the shard holds"),
        ("task", pl.lit("lm"), "says task 'lm'"),
        ("corpus", pl.lit("others"), "says corpus"),
        ("row_id", pl.lit("0" * 64), "says row_id"),
        ("shard", pl.lit(OTHER), "says shard"),
    ],
)
def test_an_index_that_says_otherwise_is_found(shards: Path, column: str, value: pl.Expr, words: str) -> None:
    _rewrite_index(shards, **{column: value})
    first = check_shards(shards)[0]
    assert first.file == SHARD
    assert first.offset % BLOCK == 0
    assert words in first.problem


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (lambda folder: (folder / SHARD).unlink(), SHARD, "is missing"),
        (lambda folder: (folder / index_name(SHARD)).unlink(), index_name(SHARD), "is missing"),
        (lambda folder: (folder / index_name(SHARD)).write_bytes(b"x"), index_name(SHARD), "sha256"),
        (lambda folder: (folder / "more.tar").write_bytes(END_OF_TAR), "more.tar", "is not in"),
        (lambda folder: (folder / SHARD).write_bytes((folder / OTHER).read_bytes()), OTHER, f"is in {SHARD} too"),
    ],
)
def test_files_that_are_missing_or_too_many_are_found(
    shards: Path, spoil: Callable[[Path], object], file: str, words: str
) -> None:
    spoil(shards)
    assert [one for one in check_shards(shards) if one.file == file and words in one.problem]


def test_processes_beside_this_one_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "2")
    write_set(tmp_path / "set", [make_sample(number) for number in range(60)], samples_per_shard=5)
    shards = sorted((tmp_path / "set").glob("*.tar"))
    assert len(shards) > 4
    for shard in (shards[0], shards[-1]):
        shard.write_bytes(_flipped(shard.read_bytes(), 600))
    alone = check_shards(tmp_path / "set")
    assert {finding.file for finding in alone} == {shards[0].name, shards[-1].name}
    monkeypatch.setattr(check, "_WORTH_PROCESSES", 0)
    assert check_shards(tmp_path / "set") == alone


def test_the_output_of_another_stage_is_not_taken_for_whole_shards(tmp_path: Path) -> None:
    write_manifest(tmp_path, stage="train", version=1, metadata={})
    with pytest.raises(InputError, match=f"{tmp_path} is an output of train, not of write_shards"):
        check_shards(tmp_path)


@pytest.mark.parametrize("count", [0, 3])
def test_shards_of_text_alone_or_of_nothing_are_plain(tmp_path: Path, count: int) -> None:
    samples = [msgspec.structs.replace(make_sample(number), task="lm", codes=None) for number in range(count)]
    write_part(tmp_path, SHARD, samples)
    assert is_plain(SHARD, (tmp_path / SHARD).read_bytes(), pl.read_parquet(tmp_path / index_name(SHARD)))
