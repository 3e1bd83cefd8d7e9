"""Ingest: rows in = rows kept + rows dropped, by reason; nothing is done twice; equal bytes in any way of running."""

import contextlib
import io
import json
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mmada.contracts.ingested import read_dropped, read_noted, read_pictures, read_records
from mmada.errors import InputError
from mmada.lineage.manifest import write_manifest
from mmada.params_data import Corpus, Ingest
from mmada.sources import bundles, reading
from mmada.sources.raw_files import LocalFile
from mmada.stage_report import StageReport
from mmada.stages import ingest as ingest_stage
from mmada.stages.ingest import ingest
from mmada.unit_store import UnitStore

LIMITS = Ingest(
    max_row_bytes=2000,
    max_image_bytes=100_000,
    max_image_pixels=10_000,
    max_json_depth=20,
    rows_per_unit=4,
    pictures_per_part=2,
)


def png(seed: int, side: int = 8, format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=format)
    return stream.getvalue()


def corpus(path: Path, **changes: Any) -> Corpus:
    declared = {"format": "jsonl", "task": "chat", "columns": {"prompt": "q", "response": "a"}, "files": "*.jsonl"}
    return Corpus(**{**declared, "path": str(path), "source": "made here", "licence": "CC0-1.0", **changes})


def run(tmp_path: Path, declared: Corpus, name: str = "out", **limits: int) -> tuple[Path, StageReport]:
    out = tmp_path / name
    store = UnitStore(tmp_path / "units")
    return out, ingest(out=out, key="c", corpora=declared, ingest=LIMITS.model_copy(update=limits), store=store)


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def units_run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, kind: str) -> list[Any]:
    """The tasks of a kind of unit that are really run (in this process)."""
    monkeypatch.setenv("MMADA_WORKERS", "1")
    tasks: list[Any] = []
    original = getattr(module, kind)

    def noted(task: Any) -> bytes:
        tasks.append(task)
        result: bytes = original(task)
        return result

    monkeypatch.setattr(module, kind, noted)
    return tasks


def test_rows_are_kept_or_dropped_with_a_reason_and_a_place(tmp_path: Path) -> None:
    lines(tmp_path / "raw/b.jsonl", [{"q": "1", "a": "2"}, "{broken", {"q": "3"}, {"q": "x" * 3000, "a": ""}])
    lines(tmp_path / "raw/a.jsonl", [{"q": "5", "a": "6"}])
    out, report = run(tmp_path, corpus(tmp_path / "raw"))
    assert (report.rows_in, report.rows_kept) == (5, 2)
    assert report.dropped == {"malformed_json": 1, "missing_field": 1, "row_too_long": 1}
    drops = read_dropped(out, "drops")
    places = drops.select("source_file", "row", "reason").rows()
    assert places == [("b.jsonl", 1, "malformed_json"), ("b.jsonl", 2, "missing_field"), ("b.jsonl", 3, "row_too_long")]
    records = read_records(out, "records")
    assert records.select("source_file", "row", "prompt").rows() == [("a.jsonl", 0, "5"), ("b.jsonl", 0, "1")]
    assert sorted(report.raw_files) == [(tmp_path / "raw" / name).as_posix() for name in ("a.jsonl", "b.jsonl")]


def test_a_second_run_reads_nothing_and_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = units_run(monkeypatch, bundles, "read_record_parts")
    lines(tmp_path / "raw/a.jsonl", [{"q": str(n), "a": "x"} for n in range(10)])
    first, _ = run(tmp_path, corpus(tmp_path / "raw"), "first")
    assert len(calls) == 3
    second, _ = run(tmp_path, corpus(tmp_path / "raw"), "second")
    assert len(calls) == 3
    ids = [write_manifest(out, stage="ingest", version=1, metadata={}).id for out in (first, second)]
    assert ids[0] == ids[1]


def test_new_rows_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = units_run(monkeypatch, bundles, "read_record_parts")
    rows = [{"q": str(n), "a": "x"} for n in range(10)]
    lines(tmp_path / "raw/a.jsonl", rows)
    run(tmp_path, corpus(tmp_path / "raw"), "first")
    lines(tmp_path / "raw/a.jsonl", [*rows, {"q": "new", "a": "x"}])
    lines(tmp_path / "raw/0.jsonl", [{"q": "other file", "a": "x"}])
    _, report = run(tmp_path, corpus(tmp_path / "raw"), "second")
    assert len(calls) == 3 + 2  # the last unit of a.jsonl, and the new file
    assert report.rows_kept == 12


def test_a_picture_of_many_rows_is_decoded_and_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    (tmp_path / "raw/images").mkdir(parents=True)
    (tmp_path / "raw/images/1.png").write_bytes(png(1))
    (tmp_path / "raw/images/2.png").write_bytes(png(1))  # the same bytes under another name
    (tmp_path / "raw/images/3.png").write_bytes(png(2))
    lines(tmp_path / "raw/a.jsonl", [{"q": str(n), "a": "x", "i": 1 + n % 3} for n in range(12)])
    columns = {"prompt": "q", "response": "a", "image": "i"}
    declared = corpus(tmp_path / "raw", task="mmu", columns=columns, image_path="images/{}.png")
    out, report = run(tmp_path, declared)
    pictures = read_pictures(out, "pictures")
    assert report.rows_kept == 12
    assert pictures.height == 2
    assert set(pictures["bytes"]) == {png(1), png(2)}
    assert len(report.raw_files) == 4


def test_rows_of_bad_pictures_are_dropped_by_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    contents = {
        "good.png": png(1),
        "cut.png": png(2)[:-40],
        "page.png": b"<html>not found</html>",
        "jpeg.png": png(3, format="JPEG"),
        "large.png": png(4, side=120),
        "heavy.png": b"\x89PNG" + b"x" * 100_001,
    }
    (tmp_path / "raw").mkdir()
    for name, data in contents.items():
        (tmp_path / "raw" / name).write_bytes(data)
    names = [*contents, "absent.png", "../out.png"]
    lines(tmp_path / "raw/a.jsonl", [{"q": "q", "a": "x", "i": name} for name in names])
    columns = {"prompt": "q", "response": "a", "image": "i"}
    out, report = run(tmp_path, corpus(tmp_path / "raw", task="mmu", columns=columns))
    drops = read_dropped(out, "drops")
    assert dict(drops.select("excerpt", "reason").iter_rows()) == {
        "cut.png": "image_truncated",
        "page.png": "image_mislabelled",
        "large.png": "image_too_large",
        "heavy.png": "image_too_large",
        "absent.png": "image_missing",
        "../out.png": "image_missing",
    }
    assert report.rows_kept == 2
    noted = read_noted(out, "noted")  # a JPEG named .png is a picture all the same
    assert noted.select("excerpt", "reason", "value").rows() == [
        ("jpeg.png", "image_mislabelled", "called PNG, but its bytes are JPEG")
    ]
    assert report.metrics["noted"] == {"image_mislabelled": 1}
    assert dict(read_pictures(out, "pictures").select("bytes", "format").iter_rows())[contents["jpeg.png"]] == "JPEG"


def test_pictures_inside_a_table(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    data = [png(1), png(1), png(2), b"no picture"]
    table = pl.DataFrame(
        {"q": ["a", "b", "c", "d"], "a": ["x"] * 4, "image": [{"bytes": b, "path": "p.png"} for b in data]}
    )
    table.write_parquet(tmp_path / "raw/t.parquet")
    columns = {"prompt": "q", "response": "a", "image": "image"}
    declared = corpus(tmp_path / "raw", task="mmu", format="parquet", files="*.parquet", columns=columns)
    out, report = run(tmp_path, declared)
    assert report.rows_kept == 3
    assert [reason.startswith("image_") for reason in report.dropped] == [True]
    assert read_pictures(out, "pictures").height == 2


def test_max_rows_takes_the_first(tmp_path: Path) -> None:
    lines(tmp_path / "raw/a.jsonl", [{"q": str(n), "a": "x"} for n in range(10)])
    out, report = run(tmp_path, corpus(tmp_path / "raw", max_rows=5))
    assert report.rows_in == 5
    assert read_records(out, "records")["prompt"].to_list() == list("01234")


def test_max_rows_counts_raw_rows_whatever_each_gives(tmp_path: Path) -> None:
    turns = [{"from": role, "value": "x"} for role in ("human", "gpt")]
    lines(tmp_path / "raw/c.jsonl", [{"conversations": turns * (1 + n % 3)} for n in range(9)])
    lines(tmp_path / "raw/l.jsonl", [" " if n % 2 else {"q": str(n), "a": "x"} for n in range(9)])
    for format, file, kept in (("llava", "c.jsonl", [0, 1, 1, 2, 2, 2, 3, 4, 4]), ("jsonl", "l.jsonl", [0, 2, 4])):
        found = set()
        columns = {} if format == "llava" else {"prompt": "q", "response": "a"}
        declared = corpus(tmp_path / "raw", format=format, files=file, columns=columns, max_rows=5)
        for rows_per_unit in (1, 2, 4, 100):
            out, _ = run(tmp_path, declared, f"{format}-{rows_per_unit}", rows_per_unit=rows_per_unit)
            found.add(tuple(read_records(out, "records")["row"]))
        assert found == {tuple(kept)}


@pytest.mark.parametrize(
    ("rows", "message"), [([], "holds no rows"), (["{", {"q": "1"}], "malformed_json 1, missing_field 1")]
)
def test_a_useless_corpus_is_refused_with_its_reasons(tmp_path: Path, rows: list[Any], message: str) -> None:
    lines(tmp_path / "raw/a.jsonl", rows)
    with pytest.raises(InputError, match=message):
        run(tmp_path, corpus(tmp_path / "raw"))


def test_any_number_of_workers_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "raw/a.jsonl", [{"q": str(n), "a": "x"} for n in range(20)])
    ids = []
    for workers in ("1", "2"):
        monkeypatch.setenv("MMADA_WORKERS", workers)
        out = tmp_path / workers
        store = UnitStore(tmp_path / f"units-{workers}")
        ingest(out=out, key="c", corpora=corpus(tmp_path / "raw"), ingest=LIMITS, store=store)
        ids.append(write_manifest(out, stage="ingest", version=1, metadata={}).id)
    assert ids[0] == ids[1]


def _show(tmp_path: Path, numbers: range) -> Corpus:
    """A corpus of rows that each show a picture of their own."""
    (tmp_path / "raw/images").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (tmp_path / f"raw/images/{number}.png").write_bytes(png(number))
    lines(tmp_path / "raw/a.jsonl", [{"q": "what is it?", "a": "x", "i": number} for number in numbers])
    columns = {"prompt": "q", "response": "a", "image": "i"}
    return corpus(tmp_path / "raw", task="mmu", columns=columns, image_path="images/{}.png")


def test_pictures_that_are_added_cost_only_themselves_and_leave_earlier_parts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = units_run(monkeypatch, reading, "read_pictures")
    first, _ = run(tmp_path, _show(tmp_path, range(9)), "first")
    declared = _show(tmp_path, range(11))
    second, report = run(tmp_path, declared, "second")
    assert report.metrics["pictures"] == 11
    assert [len(task.files) for task in decoded] == [9, 2]
    rebuilt = tmp_path / "rebuilt"
    ingest(out=rebuilt, key="c", corpora=declared, ingest=LIMITS, store=UnitStore(tmp_path / "other units"))
    ids = [write_manifest(out, stage="ingest", version=1, metadata={}).id for out in (second, rebuilt)]
    assert ids[0] == ids[1]
    before, after = ({path.name: path.read_bytes() for path in out.glob("*-*")} for out in (first, second))
    changed = {name for name, data in after.items() if before.get(name) != data}
    assert changed == {"records-000002.parquet", "pictures-000002-000.parquet", "pictures-000002-001.parquet"}


def test_a_picture_that_two_spans_show_stands_with_the_first(tmp_path: Path) -> None:
    table = pl.DataFrame({"q": list("abcdefgh"), "a": ["x"] * 8, "i": [png(n % 6) for n in range(8)]})
    (tmp_path / "raw").mkdir()
    table.write_parquet(tmp_path / "raw/t.parquet")
    columns = {"prompt": "q", "response": "a", "image": "i"}
    out, report = run(
        tmp_path, corpus(tmp_path / "raw", task="mmu", format="parquet", files="*.parquet", columns=columns)
    )
    assert report.metrics["pictures"] == 6
    assert read_pictures(out, "pictures")["bytes"].to_list() == [png(n) for n in range(6)]


def test_a_picture_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    declared = _show(tmp_path, range(1))
    original = reading.run_units

    def change_first(*args: Any, **options: Any) -> Any:
        (tmp_path / "raw/images/0.png").write_bytes(png(5))
        return original(*args, **options)

    monkeypatch.setattr(reading, "run_units", change_first)
    with pytest.raises(InputError, match=r"0.png changed while it was being read"):
        run(tmp_path, declared)


def test_small_files_are_written_together_and_one_more_is_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = units_run(monkeypatch, bundles, "read_record_parts")
    many = LIMITS.model_copy(update={"rows_per_unit": 1000})
    declared = corpus(tmp_path / "raw")

    def ingest_all(name: str, store: str = "units") -> Path:
        out = tmp_path / name
        ingest(out=out, key="c", corpora=declared, ingest=many, store=UnitStore(tmp_path / store))
        return out

    for number in range(300):
        lines(tmp_path / f"raw/{number:03d}.jsonl", [*({"q": f"{number} {n}", "a": "x"} for n in range(3)), "{"])
    first = ingest_all("first")
    assert len(read) == 300
    records = read_records(first, "records")
    assert records["source_file"].to_list() == [f"{number:03d}.jsonl" for number in range(300) for _ in range(3)]
    assert records["row"].to_list() == [0, 1, 2] * 300
    assert read_dropped(first, "drops").height == 300
    assert 2 <= len(list(first.glob("records-*"))) < 20
    lines(tmp_path / "raw/100b.jsonl", [{"q": "new", "a": "x"}])
    second = ingest_all("second")
    assert len(read) == 301
    before, after = ({path.read_bytes() for path in out.glob("records-*")} for out in (first, second))
    assert len(after - before) <= 2, "the bundle of the new file, or the two that it makes of one"
    rebuilt = ingest_all("rebuilt", "other units")
    for stored in (tmp_path / "units").glob("??/*"):
        if stored.stat().st_size % 3 == 0:
            stored.write_bytes(stored.read_bytes()[:-1])
    mended = ingest_all("mended")
    outs = (second, rebuilt, mended)
    assert len({write_manifest(out, stage="ingest", version=1, metadata={}).id for out in outs}) == 1


def test_pictures_of_small_files_stand_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    declared = _show(tmp_path, range(9)).model_copy(update={"files": "[0-9]*.jsonl"})
    for number in range(40):
        lines(tmp_path / f"raw/{number:02d}.jsonl", [{"q": "what?", "a": "x", "i": number % 10}])
    out = tmp_path / "out"
    many = LIMITS.model_copy(update={"rows_per_unit": 1000})
    report = ingest(out=out, key="c", corpora=declared, ingest=many, store=UnitStore(tmp_path / "units"))
    assert (report.rows_kept, report.dropped) == (36, {"image_missing": 4})
    assert sorted(read_pictures(out, "pictures")["bytes"]) == sorted(map(png, range(9)))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_of_rows_that_changes_meanwhile_is_refused_and_leaves_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("MMADA_WORKERS", workers)
    good = [{"q": str(n), "a": "good"} for n in range(30)]
    lines(tmp_path / "raw/a.jsonl", good)
    cut = ingest_stage.cut_corpus

    def written_after_it_was_hashed(*args: Any, **names: Any) -> Any:
        spans = cut(*args, **names)
        lines(tmp_path / "raw/a.jsonl", [{**row, "a": "evil"} for row in good])
        return spans

    with monkeypatch.context() as patched:
        patched.setattr(ingest_stage, "cut_corpus", written_after_it_was_hashed)
        with pytest.raises(InputError, match=r"a\.jsonl changed while it was being read"):
            run(tmp_path, corpus(tmp_path / "raw"))
    lines(tmp_path / "raw/a.jsonl", good)
    out, _ = run(tmp_path, corpus(tmp_path / "raw"), "again")
    assert set(read_records(out, "records")["response"]) == {"good"}


def test_a_file_that_changes_while_it_is_cut_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "raw/a.jsonl", [{"q": "1", "a": "2"}])
    real = LocalFile.sha256

    def written_after_it_was_hashed(file: LocalFile) -> str:
        digest = real(file)
        lines(tmp_path / "raw/a.jsonl", [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}])
        return digest

    with monkeypatch.context() as patched:
        patched.setattr(LocalFile, "sha256", written_after_it_was_hashed)
        with pytest.raises(InputError, match="changed while it was being read"):
            run(tmp_path, corpus(tmp_path / "raw"))
    lines(tmp_path / "raw/a.jsonl", [{"q": "1", "a": "2"}])
    assert run(tmp_path, corpus(tmp_path / "raw"))[1].rows_in == 1


@pytest.mark.parametrize("format", ["json", "messages"])
def test_a_document_that_is_mended_is_read_anew(tmp_path: Path, format: str) -> None:
    columns = {"messages": {}, "json": {"prompt": "q", "response": "a"}}[format]
    declared = corpus(tmp_path / "raw", files="*.json", format=format, columns=columns)
    (tmp_path / "raw").mkdir()
    turns = [[{"role": "user", "content": n}, {"role": "assistant", "content": "a"}] for n in "13"]
    rows = ",\n".join(json.dumps({"q": n, "a": "x", "messages": turn}) for n, turn in zip("13", turns, strict=True))
    (tmp_path / "raw/a.json").write_text(rows)
    with contextlib.suppress(InputError):  # all rows dropped
        run(tmp_path, declared)
    (tmp_path / "raw/a.json").write_text(f"[{rows}]")
    out, report = run(tmp_path, declared)
    assert (report.rows_in, report.rows_kept) == (2, 2)
    assert read_records(out, "records")["prompt"].to_list() == ["1", "3"]


def test_the_ledger_says_what_is_wrong_with_a_picture_now(tmp_path: Path) -> None:
    declared = corpus(tmp_path / "raw", task="t2i", columns={"prompt": "q", "image": "i"})
    lines(tmp_path / "raw/a.jsonl", [{"q": "1", "i": "large.png"}, {"q": "2", "i": "good.png"}])
    (tmp_path / "raw/good.png").write_bytes(png(1))
    for size in (3000, 7000):
        (tmp_path / "raw/large.png").write_bytes(bytes(size))
        out, _ = run(tmp_path, declared, str(size), max_image_bytes=2000)
        assert read_dropped(out, "drops")["value"].to_list() == [f"{size} bytes"]


@pytest.mark.parametrize("value", [datetime(2020, 1, 1), Decimal("1.5"), b"bytes"])
def test_a_struct_that_is_no_json_costs_its_row_alone(tmp_path: Path, value: object) -> None:
    (tmp_path / "raw").mkdir()
    columns = {"prompt": "q", "response": "a", "reference": "r"}
    table = pl.DataFrame({"q": ["1", "2"], "a": ["x", "y"], "r": [{"v": value}, None]})
    table.write_parquet(tmp_path / "raw/a.parquet")
    declared = corpus(tmp_path / "raw", format="parquet", files="*.parquet", columns=columns)
    out, report = run(tmp_path, declared)
    assert report.dropped == {"invalid_text": 1}
    assert read_records(out, "records")["prompt"].to_list() == ["2"]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "raw/good.jsonl", [{"q": "1", "a": "2"}])
    Path(os.fsdecode(bytes(tmp_path / "raw") + b"/caf\xe9.jsonl")).write_bytes(b"")
    for format in ("jsonl", "huggingface"):
        with pytest.raises(InputError, match="rename it"):
            run(tmp_path, corpus(tmp_path / "raw", format=format))


def test_a_link_to_nothing_is_no_file_less(tmp_path: Path) -> None:
    lines(tmp_path / "raw/good.jsonl", [{"q": "1", "a": "2"}])
    (tmp_path / "raw/linked.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    with pytest.raises(InputError, match=r"linked\.jsonl is a link to nothing"):
        run(tmp_path, corpus(tmp_path / "raw"))
    lines(tmp_path / "elsewhere.jsonl", [{"q": "3", "a": "4"}])
    assert run(tmp_path, corpus(tmp_path / "raw"))[1].rows_kept == 2
