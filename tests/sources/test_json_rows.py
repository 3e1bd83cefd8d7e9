"""JSON lines and documents: every row comes out once, whatever stands in the file and however it is cut."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmada.sources.json_lines import split_lines
from mmada.sources.json_values import parse_json
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect
from tests.sources.reading_rows import LIMITS, reasons, rows_of

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(_VALUES, max_size=12), indent=st.sampled_from([None, 0, 2]))
def test_documents_of_any_values_come_back_whole(tmp_path: Path, rows: list[object], indent: int | None) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    assert rows_of(path, "json") == list(enumerate(rows))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), _VALUES, max_size=3), max_size=12))
def test_lines_of_any_objects_come_back_whole(tmp_path: Path, rows: list[object]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert rows_of(path, "jsonl") == list(enumerate(rows))


def test_a_broken_line_is_a_row_with_a_reason_and_its_neighbours_stand(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\n{"a": "' + b"x" * 5000 + b'"}\n{"a": "\xff"}\r\n{"a": NaN}\n{"a": 2}')
    rows = rows_of(path, "jsonl")
    assert [row for row, _ in rows] == [0, 1, 3, 4, 5, 6]  # the empty line counts, but is no row
    assert reasons(rows) == ["", "malformed_json", "row_too_long", "malformed_json", "malformed_json", ""]
    assert rows[-1] == (6, {"a": 2})


_DEEP = LIMITS.max_json_depth
_LINES = st.sampled_from(
    [
        b"7", b"[]", b"", b"  ", b"{", b'{"a": 1}', b' {"a": "b"} ', b'{"a": "[[["}\r', b'{"a": "\xff"}',
        b'{"a": 1e999}', b'{"a": "\\ud800"}', b"\xef\xbb\xbf{}", b'{"a": "' + b"x" * LIMITS.max_row_bytes + b'"}',
        *(b"[" * depth + b"]" * depth for depth in (_DEEP - 1, _DEEP, _DEEP + 1)),
        *(b'{"a":' * depth + b"0" + b"}" * depth for depth in (_DEEP, _DEEP + 1)),
    ]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(_LINES, max_size=5))
def test_lines_that_are_read_together_are_what_each_is_alone(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    alone = [(row, parse_json(line.strip(), LIMITS)) for row, line in enumerate(lines) if line.strip()]
    assert [(row, _told(content)) for row, content in rows_of(path, "jsonl")] == [
        (row, _told(content)) for row, content in alone
    ]


def _told(content: object) -> object:
    """Defects by their reason: how much of a long line is shown depends on how it was read."""
    return content.reason if isinstance(content, Defect) else content


def test_appending_lines_leaves_earlier_spans_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' * 7)
    before = [span.digest for span in split_lines(LocalFile(tmp_path, path.name), LIMITS)]
    with path.open("a") as stream:
        stream.write('{"a": 2}\n')
    after = [span.digest for span in split_lines(LocalFile(tmp_path, path.name), LIMITS)]
    assert len(before) == 3
    assert after[:2] == before[:2]
    assert after[2] != before[2]


def test_depth_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    assert isinstance(parse_json(b"[" * 21 + b"]" * 21, LIMITS), Defect)
    assert parse_json(b"[" * 20 + b"]" * 20, LIMITS) != []
    text = '"\\"[[[{{{' + "[" * 100
    assert parse_json(json.dumps({"a": text}).encode(), LIMITS) == {"a": text}
    deep = parse_json(b"[" * 100_000, replace(LIMITS, max_row_bytes=10**6))
    assert isinstance(deep, Defect)
    assert deep.reason == "malformed_json"


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2', '[{"a": 1}, {"a": }]', '[{"a": 1}, 2] rest', '[{"a": 1},]'])
def test_a_broken_document_keeps_the_rows_before_the_break(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    rows = rows_of(path, "json")
    assert rows[0] == (0, {"a": 1})
    assert reasons(rows)[-1] == "malformed_json"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), _VALUES, max_size=3), max_size=12),
    indent=st.sampled_from([None, 2]),
    between=st.sampled_from(["", "\n", "\n\n "]),
)
def test_objects_one_after_another_come_back_whole(
    tmp_path: Path, rows: list[object], indent: int | None, between: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(between.join(json.dumps(row, indent=indent) for row in rows) + between, encoding="utf-8")
    assert rows_of(path, "json") == list(enumerate(rows))


def test_a_broken_object_among_others_is_one_row_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n{"a": }\n{"a": 2}\nrest')
    assert reasons(rows_of(path, "json")) == ["", "malformed_json", "", "malformed_json"]
