"""Formats other than JSON: what one row is, and that damage is reported, never lost."""

import csv
import io
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pytest

from mmada.errors import InputError
from mmada.sources.raw_files import open_corpus
from mmada.sources.raw_rows import Defect
from mmada.sources.trajectories import without_echo
from tests.sources.reading_rows import LIMITS, reasons, rows_of


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: Literal["w", "w:gz"] = "w") -> None:
    """A tar of regular files, in order."""
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


_MEMBERS = [(f"a/{n:03d}.{ext}", f"{ext}{n}".encode()) for n in range(8) for ext in ("txt", "seg.png")]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_of_one_key_are_one_row(tmp_path: Path, mode: Literal["w", "w:gz"]) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, _MEMBERS, mode)
    rows = rows_of(path, "webdataset")
    assert [row for row, _ in rows] == list(range(8))
    assert rows[5][1] == {"__key__": "a/005", "txt": b"txt5", "seg.png": b"seg.png5"}


def test_the_webdataset_library_reads_the_same_samples(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "shard.tar"
    write_tar(path, _MEMBERS)
    theirs = [
        {name: value for name, value in sample.items() if name not in ("__url__", "__local_path__")}
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    assert [content for _, content in rows_of(path, "webdataset")] == theirs


def test_a_cut_tar_keeps_the_samples_before_the_cut_and_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, _MEMBERS)
    whole = rows_of(path, "webdataset")
    data = path.read_bytes()
    for cut in range(512 * 9, 512 * 32, 512 * 3 + 100):
        path.write_bytes(data[:cut])
        rows = rows_of(path, "webdataset")
        assert reasons(rows)[-1] == "archive_truncated"
        kept = [row for row, content in rows if not isinstance(content, Defect)]
        assert kept == list(range(len(kept)))
        # The last sample before the cut may have lost a member; all earlier ones are whole.
        assert rows[: len(kept) - 1] == whole[: len(kept) - 1]


def test_links_devices_and_huge_members_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        huge = tarfile.TarInfo("b.txt")
        huge.size = 200_000
        archive.addfile(huge, io.BytesIO(b"x" * huge.size))
        escape = tarfile.TarInfo("../../c.txt")
        escape.size = 1
        archive.addfile(escape, io.BytesIO(b"c"))
    rows = rows_of(path, "webdataset")
    assert reasons(rows) == ["row_too_long", ""]
    assert not (tmp_path.parent / "c.txt").exists()


def test_parquet_rows_with_pictures_inside(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pl.DataFrame({"text": [f"t{n}" for n in range(7)], "image": [{"bytes": b"x", "path": "a.png"}] * 7})
    table.write_parquet(path)
    rows = rows_of(path, "parquet")
    assert [row for row, _ in rows] == list(range(7))
    assert rows[6][1] == {"text": "t6", "image": {"bytes": b"x", "path": "a.png"}}
    path.write_bytes(path.read_bytes()[:-20])
    assert reasons(rows_of(path, "parquet")) == ["malformed_file"]


def test_a_row_group_is_read_in_pieces_that_add_up(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = [f"t{n}" for n in range(1000)]
    pl.DataFrame({"text": texts}).write_parquet(path, row_group_size=333)
    for size in (7, 64, 100, 500):
        rows = rows_of(path, "parquet", replace(LIMITS, rows_per_unit=size))
        assert rows == [(n, {"text": text}) for n, text in enumerate(texts)]


@pytest.mark.parametrize(("kind", "changing"), [("file", False), ("stream", False), ("stream", True)])
def test_arrow_tables_with_dictionaries_come_back_whole_and_cut_ones_to_the_cut(
    tmp_path: Path, kind: str, changing: bool
) -> None:
    path = tmp_path / "data.arrow"
    schema = pa.schema([("text", pa.string()), ("word", pa.dictionary(pa.int32(), pa.string()))])
    expected = [{"text": f"t{n}", "word": f"w{n if changing else n % 2}"} for n in range(24)]
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(str(path), schema) as table:
        for start in range(0, 24, 4):
            columns = {name: [row[name] for row in expected[start : start + 4]] for name in ("text", "word")}
            words = pa.array(columns["word"]).dictionary_encode()
            table.write_batch(pa.record_batch([pa.array(columns["text"]), words], schema=schema))
    for size in (1, 9, 100):
        assert rows_of(path, "arrow", replace(LIMITS, rows_per_unit=size)) == list(enumerate(expected))
    data = path.read_bytes()
    for cut in range(0, len(data) // 2, 97):
        path.write_bytes(data[:cut])
        rows = rows_of(path, "arrow")
        assert reasons(rows)[-1] == "malformed_file"
        assert [content for _, content in rows[:-1]] == expected[: len(rows) - 1]


@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_what_polars_writes_is_read(tmp_path: Path, compression: Literal["uncompressed", "zstd"]) -> None:
    path = tmp_path / "data.arrow"
    rows = [{"text": f"t{n}", "word": f"w{n % 2}"} for n in range(24)]
    table = pl.DataFrame(rows, schema={"text": pl.String, "word": pl.Categorical})
    for wanted in (rows, []):
        table.head(len(wanted)).write_ipc(path, compression=compression, record_batch_size=4)
        for size in (1, 9, 100):
            assert rows_of(path, "arrow", replace(LIMITS, rows_per_unit=size)) == list(enumerate(wanted))


def test_what_datasets_saves_to_disk_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = {"image": [{"bytes": b"x", "path": None}] * 5, "text": list("abcde")}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path))
    (path,) = tmp_path.glob("*.arrow")
    assert [content for _, content in rows_of(path, "arrow")] == [
        {"image": {"bytes": b"x", "path": None}, "text": text} for text in "abcde"
    ]


def test_a_captions_table_may_be_csv(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('file_name,caption\na.png,"two, with a\nline break"\nb.png,007\n')
    assert [content for _, content in rows_of(path, "image_folder")] == [
        {"file_name": "a.png", "caption": "two, with a\nline break"},
        {"file_name": "b.png", "caption": "007"},
    ]


def test_spans_of_a_csv_are_whole_rows_and_a_bad_row_is_bad_alone(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    rows = [{"name": f"{n}.png", "text": f'line "{n}"\n' * (n % 3) + "end, of it"} for n in range(20)]
    pl.DataFrame(rows).write_csv(path)
    for size in (1, 3, 7, 100):
        assert rows_of(path, "image_folder", replace(LIMITS, rows_per_unit=size)) == list(enumerate(rows))
    path.write_text("name,text\na.png,one\nb.png,two,three\nc.png,four\n")
    for size in (1, 100):
        read = rows_of(path, "image_folder", replace(LIMITS, rows_per_unit=size))
        assert reasons(read) == ["", "malformed_row", ""]
        assert read[2][1] == {"name": "c.png", "text": "four"}
    table = tmp_path / "captions.tsv"
    table.write_text('name\ttext\na.png\tan "odd mark\nb.png\ttwo')
    assert [content for _, content in rows_of(table, "image_folder")] == [
        {"name": "a.png", "text": 'an "odd mark'},
        {"name": "b.png", "text": "two"},
    ]


def test_llava_gives_a_row_per_exchange_and_refuses_what_does_not_alternate(tmp_path: Path) -> None:
    def turns(*roles: str) -> list[dict[str, str]]:
        return [{"from": role, "value": f"<image>\n{role} {n}"} for n, role in enumerate(roles)]

    rows = [
        {"id": "1", "image": "a.jpg", "conversations": turns("human", "gpt", "human", "gpt")},
        {"id": "2", "image": "b.jpg", "conversations": turns("human", "human")},
        {"id": "3", "image": "c.jpg"},
    ]
    path = tmp_path / "llava.json"
    path.write_text(json.dumps(rows))
    read = rows_of(path, "llava")
    assert [row for row, _ in read] == [0, 0, 1, 2]
    assert reasons(read) == ["", "", "malformed_conversation", "missing_field"]
    first = read[1][1]
    assert isinstance(first, dict)
    assert (first["prompt"], first["response"], first["image"]) == ("human 2", "gpt 3", "a.jpg")


def test_messages_of_both_dialects_put_earlier_turns_into_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    openai = [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": "a"},
    ]
    sharegpt = [{"from": "human", "value": "one"}, {"from": "gpt", "value": "two"}]
    longer = [*sharegpt, {"from": "human", "value": "three"}, {"from": "gpt", "value": "four"}]
    lines = [{"messages": openai}, {"conversations": longer}, {"messages": openai[:1]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = rows_of(path, "messages")
    prompts = [content["prompt"] if isinstance(content, dict) else "" for _, content in rows]
    assert prompts == ["q", "user: one\nassistant: two\nuser: three", ""]
    assert reasons(rows) == ["", "", "malformed_conversation"]


def test_a_trajectory_loses_the_prompt_that_it_repeats_and_nothing_else() -> None:
    assert without_echo("Solve this. Solution: <think>a</think>4") == "<think>a</think>4"
    assert without_echo("no thought: 4") == "no thought: 4"


def test_missing_and_empty_corpora_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dvc pull"):
        open_corpus(tmp_path / "absent", "*", "corpora.a")
    with pytest.raises(InputError, match=r"corpora\.a\.files"):
        open_corpus(tmp_path, "*.jsonl", "corpora.a")
    with pytest.raises(InputError, match=r"corpora\.a\.path is an address .*mmada pin s3://"):
        open_corpus(Path("s3://bucket/prefix"), "*", "corpora.a")


def test_spans_do_not_change_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, _MEMBERS)
    for size in (1, 2, 5, 100):
        assert rows_of(path, "webdataset", replace(LIMITS, rows_per_unit=size)) == rows_of(path, "webdataset")


def test_a_quotation_mark_within_a_field_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    rows = [(f"row {number}", "x") for number in range(40)]
    rows[5], rows[20], rows[30] = ('a 5" disk', "x"), ("two\nlines", "and, more"), ('so "called" names', "y")
    written = ["q,r", *(f"{q},{r}" for q, r in rows)]
    written[21] = '"two\nlines","and, more"'
    path.write_text("\n".join(written) + "\n")
    for size in (1, 7, 100):
        read = rows_of(path, "image_folder", replace(LIMITS, rows_per_unit=size))
        assert read == [(number, {"q": q, "r": r}) for number, (q, r) in enumerate(rows)]


def test_a_quotation_that_never_closes_costs_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('q,r\na,1\n"b,2\nc,3\n"d",4\n')
    for size in (1, 100):
        read = rows_of(path, "image_folder", replace(LIMITS, rows_per_unit=size))
        assert reasons(read) == ["", "malformed_row", "", ""]
        assert [content for _, content in read[2:]] == [{"q": "c", "r": "3"}, {"q": "d", "r": "4"}]


def test_columns_of_one_name_are_told_apart_alike_in_every_row(tmp_path: Path) -> None:
    path = tmp_path / "captions.CSV"
    path.write_text('\ufeffq,a,a\n1,2,3\n4,"5"x,6\n', encoding="utf-8")  # the last one is read by itself
    assert [content["a"] for _, content in rows_of(path, "image_folder")] == ["2", "5x"]  # type: ignore[index]


def test_rows_of_a_csv_are_those_of_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    rng = random.Random(5)
    for _ in range(60):
        rows = [["".join(rng.choices('ab",\n x', k=rng.randint(1, 6))) for _ in "qr"] for _ in range(rng.randint(1, 9))]
        with path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([["q", "r"], *rows])
        read = rows_of(path, "image_folder")
        assert read == [(number, {"q": q, "r": r}) for number, (q, r) in enumerate(rows)]


def test_members_without_key_or_field_belong_to_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    members = ["._a.jpg", "a.JPG", "README", "a.txt", "dir/._b.txt", "b.jpg", "b.txt"]
    write_tar(path, [(name, name.encode()) for name in members])
    for size in (1, 100):
        read = [content for _, content in rows_of(path, "webdataset", replace(LIMITS, rows_per_unit=size))]
        assert read == [
            {"__key__": "a", "jpg": b"a.JPG", "txt": b"a.txt"},
            {"__key__": "b", "jpg": b"b.jpg", "txt": b"b.txt"},
        ]
