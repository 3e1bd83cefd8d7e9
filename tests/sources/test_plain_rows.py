"""A span of rows that are read all at once gives what its rows give one by one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmada.sources import units
from mmada.sources.json_lines import split_lines
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect
from mmada.sources.units import Declaration, RowTask, parse_rows
from tests.sources.reading_rows import LIMITS as FEW

LIMITS = replace(FEW, rows_per_unit=100)

DECLARED = Declaration(
    format="jsonl", path="", columns={"prompt": "q", "response": "r", "kind": "meta.kind"}, required=["prompt"]
)
_TEXT = st.text(max_size=8)
_ROWS = st.fixed_dictionaries(
    {"q": _TEXT | st.text(min_size=1), "r": _TEXT, "meta.kind": _TEXT},
    optional={"meta": st.dictionaries(_TEXT, _TEXT, max_size=1), "other": st.none() | st.integers() | _TEXT},
)
_ODD = st.fixed_dictionaries({}, optional={"q": st.none() | st.integers() | _TEXT, "r": _TEXT}) | st.just([1])


def _task(path: Path, rows: list[object], declared: Declaration) -> RowTask:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (span,) = split_lines(LocalFile(path.parent, path.name), LIMITS)
    return RowTask(span, declared, LIMITS, lambda _: Defect("image_missing", ""))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(_ROWS, min_size=1, max_size=8), odd=st.lists(_ODD, max_size=1), asks=st.booleans())
@example(rows=[{"q": "\ud800", "r": "", "meta.kind": ""}], odd=[], asks=True)
@example(rows=[{"q": "x" * 600, "r": "y" * 600, "meta.kind": ""}], odd=[], asks=True)
def test_both_ways_give_the_same_table(tmp_path: Path, rows: list[object], odd: list[object], asks: bool) -> None:
    columns = DECLARED.columns if asks else {"response": "r"}
    declared = Declaration(**(vars(DECLARED) | {"columns": columns, "prompt": "" if asks else "Write."}))
    task = _task(tmp_path / "rows.jsonl", rows + odd, declared)
    at_once = parse_rows(task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_plain_rows", lambda *_: None)
        assert parse_rows(task).equals(at_once)


def test_plain_rows_are_read_at_once_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"q": "one", "r": "two", "meta.kind": ""}
    one_by_one: list[int] = []
    given_row = units._row
    monkeypatch.setattr(units, "_row", lambda row, *rest: one_by_one.append(row) or given_row(row, *rest))
    assert parse_rows(_task(tmp_path / "rows.jsonl", [plain] * 3, DECLARED))["prompt"].to_list() == ["one"] * 3
    assert one_by_one == []
    assert parse_rows(_task(tmp_path / "rows.jsonl", [plain, {}], DECLARED))["reason"].to_list() == [
        "",
        "missing_field",
    ]
    assert one_by_one == [0, 1]
