"""A span of rows that are read all at once gives what its rows give one by one."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmada.sources import json_lines, units
from mmada.sources.adapters import ADAPTERS
from mmada.sources.json_lines import split_lines
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect, Limits, no_texts
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


def _task(path: Path, lines: list[bytes], declared: Declaration, limits: Limits = LIMITS) -> RowTask:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    (span,) = split_lines(LocalFile(path.parent, path.name), limits)
    return RowTask(span, declared, limits, lambda _: Defect("image_missing", ""))


def _dumped(rows: Iterable[object]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def _by_whole_rows(patch: pytest.MonkeyPatch) -> None:
    """Read what follows without the shortcut by the texts of columns."""
    patch.setitem(ADAPTERS, "jsonl", replace(ADAPTERS["jsonl"], texts=no_texts))


def _one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Read what follows without any shortcut."""
    _by_whole_rows(patch)
    patch.setattr(units, "_texts", lambda *_: None)
    patch.setattr(json_lines, "_decode_together", lambda *_: None)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(_ROWS, min_size=1, max_size=8), odd=st.lists(_ODD, max_size=1), asks=st.booleans())
@example(rows=[{"q": "\ud800", "r": "", "meta.kind": ""}], odd=[], asks=True)
@example(rows=[{"q": "x" * 600, "r": "y" * 600, "meta.kind": ""}], odd=[], asks=True)
def test_all_ways_give_the_same_table(tmp_path: Path, rows: list[object], odd: list[object], asks: bool) -> None:
    columns = DECLARED.columns if asks else {"response": "r"}
    declared = Declaration(**(vars(DECLARED) | {"columns": columns, "prompt": "" if asks else "Write."}))
    task = _task(tmp_path / "rows.jsonl", _dumped(rows + odd), declared)
    at_once = parse_rows(task)
    for way in (_by_whole_rows, _one_by_one):
        with pytest.MonkeyPatch.context() as patch:
            way(patch)
            assert parse_rows(task).equals(at_once)


_PIECES = st.sampled_from(
    [
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\r", b"\t", b"\n", b"}{", b"}\n{", b"null", b"true"),
        *(b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf"),
        *(b'"q"', b'"q":"z"', b'"\\u0071":"z"', b'"s":1e999', b'"s":NaN', b'"s":' + b"9" * 4400, b'"s":01', b'"s":-'),
        *(b'"s":"\\ud800"', b'"s":"\\x"', b'"s":"\xed\xa0\x80"', b'"s":' + b"[" * 25 + b"]" * 25),
    ]
)
_WHOLE = [b'{"q":"a","r":"b"}', b'{"s":{"t":[1,{}]},"r":"\\n\\u00e9","q":"\xc3\xa9"}', b'{"q":"","s":"uvw","r":"c"}']


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), lines=st.lists(st.sampled_from(_WHOLE), min_size=1, max_size=4))
def test_whatever_bytes_stand_there_all_ways_agree(tmp_path: Path, data: st.DataObject, lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(_PIECES) + text[place + data.draw(st.integers(0, 3)) :]
    _assert_all_ways_agree(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"q":"a","r":"b","s":"\xff"}',
        b'{"q":"a","r":"b","s":\n{}}{"q":"c","r":"d"}',
        b'{"q":"a","s":{}\n,"r":"b"}{"q":"c","r":"d"}',
        b'{"q":"a","r":"b"}{"q":"c","r":"d"}\n\n{"q":"e","r":"f"}',
        b'{"q":"a","r":"b"}\r\n{"q":"c","r":"d"}\r',
    ],
    ids=["encoding of what is left out", "no end", "no beginning", "two in a line", "carriage returns"],
)
def test_lines_that_are_no_objects_each_are_told_from_those_that_are(tmp_path: Path, text: bytes) -> None:
    _assert_all_ways_agree(tmp_path, text)


def _assert_all_ways_agree(folder: Path, text: bytes) -> None:
    declared = Declaration(format="jsonl", path="", columns={"prompt": "q", "response": "r"}, required=["response"])
    task = _task(folder / "rows.jsonl", [text], declared, replace(LIMITS, max_row_bytes=10_000))
    at_once = parse_rows(task)
    with pytest.MonkeyPatch.context() as patch:
        _one_by_one(patch)
        one_by_one = parse_rows(task)
    what_failed = ["value", "excerpt"]  # a parser's message names bytes of what it was given
    assert at_once.drop(what_failed).equals(one_by_one.drop(what_failed))


def test_a_number_of_five_thousand_digits_is_kept_as_its_digits(tmp_path: Path) -> None:
    digits = "1" * 5000
    line = f'{{"q": "how many", "r": {digits}}}'.encode()
    declared = replace(DECLARED, columns={"prompt": "q", "response": "r"})
    task = _task(tmp_path / "rows.jsonl", [line], declared, replace(LIMITS, max_row_bytes=10_000))
    assert parse_rows(task)["response"].to_list() == [digits]


def test_plain_rows_are_read_at_once_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"q": "one", "r": "two", "meta.kind": ""}
    one_by_one: list[int] = []
    given_row = units._row
    monkeypatch.setattr(units, "_row", lambda row, *rest: one_by_one.append(row) or given_row(row, *rest))
    rows = _dumped([plain] * 3)
    assert parse_rows(_task(tmp_path / "rows.jsonl", rows, DECLARED))["prompt"].to_list() == ["one"] * 3
    assert one_by_one == []
    assert parse_rows(_task(tmp_path / "rows.jsonl", _dumped([plain, {}]), DECLARED))["reason"].to_list() == [
        "",
        "missing_field",
    ]
    assert one_by_one == [0, 1]
