"""Benchmark items: whole or refused, the same ids wherever they lie."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.records import PICTURES
from mmada.contracts.tables import read_table
from mmada.errors import InputError
from mmada.params_data import Benchmark
from mmada.sources.reading import NamedPictures
from mmada.stages import benchmark_items as benchmark_stage
from mmada.stages.benchmark_items import benchmark_items
from mmada.unit_store import UnitStore
from tests.stages.test_ingest import LIMITS, lines, png

SPEC = {"category": "single", "include": [{"shape": "circle", "count": 1, "colour": "red"}], "relation": None}


def run(tmp_path: Path, rows: list[Any], name: str = "out", **declared: Any) -> Path:
    lines(tmp_path / "items.jsonl", rows)
    benchmark = Benchmark(**{"path": str(tmp_path / "items.jsonl"), "max_items": 100, **declared})
    out = tmp_path / name
    benchmark_items(out=out, key="b", benchmarks=benchmark, ingest=LIMITS, store=UnitStore(tmp_path / "units"))
    return out


QUESTIONS: dict[str, Any] = {
    "kind": "reasoning",
    "format": "questions",
    "columns": {"prompt": "q", "reference": "a", "kind": "k"},
}
SPECS: dict[str, Any] = {
    "kind": "pictures",
    "format": "picture_specs",
    "columns": {"prompt": "p", "spec": "s", "kind": "k"},
}


def test_a_range_of_rows_can_be_held_out(tmp_path: Path) -> None:
    rows = [{"q": str(n), "a": str(n + 1), "k": "sum"} for n in range(10)]
    out = run(tmp_path, rows, **QUESTIONS, first_row=6)
    items = read_table(out / "items.parquet", BENCHMARK_ITEMS, "items")
    assert items.select("prompt", "reference", "category").rows() == [(str(n), str(n + 1), "sum") for n in range(6, 10)]


def test_ids_are_of_content_and_equal_items_are_one(tmp_path: Path) -> None:
    rows = [{"q": "1 + 1", "a": "2", "k": "sum"}, {"q": "3", "a": "4", "k": "sum"}]
    one = read_table(run(tmp_path, rows, "one", **QUESTIONS) / "items.parquet", BENCHMARK_ITEMS, "items")
    two = read_table(run(tmp_path, rows[::-1] * 2, "two", **QUESTIONS) / "items.parquet", BENCHMARK_ITEMS, "items")
    assert one["item_id"].to_list() == two["item_id"].to_list()[::-1]


@pytest.mark.parametrize("include", [[], [{"shape": "circle", "count": 0, "colour": "red"}]])
def test_a_drawing_of_nothing_cannot_be_graded(tmp_path: Path, include: list[Any]) -> None:
    with pytest.raises(InputError, match="must be asked for"):
        run(tmp_path, [{"p": "draw", "s": {**SPEC, "include": include}, "k": "single"}], **SPECS)


def test_equal_items_are_counted(tmp_path: Path) -> None:
    lines(tmp_path / "items.jsonl", [{"q": str(n % 3), "a": "1", "k": "sum"} for n in range(5)])
    benchmark = Benchmark(path=str(tmp_path / "items.jsonl"), max_items=100, **QUESTIONS)
    store = UnitStore(tmp_path / "units")
    report = benchmark_items(out=tmp_path / "out", key="b", benchmarks=benchmark, ingest=LIMITS, store=store)
    assert (report.rows_in, report.rows_kept, report.dropped) == (5, 3, {"duplicate_exact": 2})


def test_pictures_lie_beside_the_items(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    rows = [{"q": "what?", "a": "x", "i": "1"}, {"q": "which?", "a": "y", "i": "1"}]
    columns = {"prompt": "q", "reference": "a", "image": "i"}
    out = run(tmp_path, rows, kind="vqa", format="questions", columns=columns, image_path="{}.png")
    items = read_table(out / "items.parquet", BENCHMARK_ITEMS, "items")
    pictures = read_table(out / "pictures.parquet", PICTURES, "pictures")
    assert set(items["image_sha256"]) == set(pictures["image_sha256"])
    assert set(items["pixels_sha256"]) == set(pictures["pixels_sha256"])


def test_a_picture_that_changes_while_items_are_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    find = benchmark_stage.read_named_pictures

    def then_change(*args: Any, **names: Any) -> NamedPictures:
        found = find(*args, **names)
        (tmp_path / "1.png").write_bytes(png(2))
        return found

    monkeypatch.setattr(benchmark_stage, "read_named_pictures", then_change)
    columns = {"prompt": "q", "reference": "a", "image": "i"}
    with pytest.raises(InputError, match=r"1\.png changed while it was being read"):
        run(
            tmp_path,
            [{"q": "what?", "a": "x", "i": "1.png"}],
            kind="vqa",
            format="questions",
            columns=columns,
        )


def test_specifications_are_checked_and_kept_as_json(tmp_path: Path) -> None:
    out = run(tmp_path, [{"p": "a red circle", "s": SPEC, "k": "single"}], **SPECS)
    spec = read_table(out / "items.parquet", BENCHMARK_ITEMS, "items")["spec"][0]
    assert json.loads(spec) == SPEC
    with pytest.raises(InputError, match="specification"):
        run(tmp_path, [{"p": "a", "s": {**SPEC, "category": "none"}, "k": "single"}], "bad", **SPECS)


@pytest.mark.parametrize("row", ["{broken", {"q": "1"}, {"q": "1", "a": ""}])
def test_one_bad_item_refuses_the_benchmark(tmp_path: Path, row: Any) -> None:
    with pytest.raises(InputError, match=r"1 items .* row 1"):
        run(tmp_path, [{"q": "1", "a": "2"}, row], **QUESTIONS)


def test_no_items_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="first_row"):
        run(tmp_path, [{"q": "1", "a": "2"}], **QUESTIONS, first_row=1)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    benchmark = Benchmark(path=str(tmp_path / "absent.jsonl"), max_items=1, **QUESTIONS)
    with pytest.raises(InputError, match=r"benchmarks\.b\.path: .*absent\.jsonl does not exist"):
        benchmark_items(
            out=tmp_path / "out", key="b", benchmarks=benchmark, ingest=LIMITS, store=UnitStore(tmp_path / "units")
        )
