"""What can only be read from a start on is decoded once for spans in order, and read rightly in any order."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmada.sources import parquet, webdataset
from mmada.sources.adapters import ADAPTERS
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Span
from tests.sources.reading_rows import LIMITS
from tests.sources.test_adapters import write_tar

_ROWS = 400
_BY_30 = replace(LIMITS, rows_per_unit=30)


def _write_parquet(path: Path, rows: int) -> None:
    pq.write_table(pa.table({"n": range(rows)}), path, row_group_size=200)


def _write_tgz(path: Path, rows: int) -> None:
    write_tar(path, [(f"{row:04d}.n", str(row).encode()) for row in range(rows)], "w:gz")


_KINDS = {"parquet": (_write_parquet, parquet, "_RowGroup"), "webdataset": (_write_tgz, webdataset, "_CompressedTar")}


@pytest.fixture(params=_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def write(kind: str) -> Callable[[Path, int], None]:
    return _KINDS[kind][0]


def _spans(kind: str, folder: Path) -> list[Span]:
    return list(ADAPTERS[kind].split(LocalFile(folder, "rows"), _BY_30))


def _numbers(kind: str, span: Span) -> list[int]:
    """What stands in the rows of a span, each of which holds its number in the file."""
    read = ADAPTERS[kind].read(span, _BY_30)
    return [int(row.content["n"]) for row in read]  # type: ignore[index]


def test_spans_may_be_read_in_any_order(tmp_path: Path, kind: str, write: Callable[[Path, int], None]) -> None:
    write(tmp_path / "rows", _ROWS)
    spans = _spans(kind, tmp_path)
    assert sum(span.rows for span in spans) == _ROWS
    for seed in range(3):
        for span in random.Random(seed).sample(spans, len(spans)):
            assert _numbers(kind, span) == list(range(span.first_row, span.first_row + span.rows))


def test_a_span_that_was_left_half_way_disturbs_no_other(
    tmp_path: Path, kind: str, write: Callable[[Path, int], None]
) -> None:
    write(tmp_path / "rows", _ROWS)
    first, second, third, *_ = _spans(kind, tmp_path)
    assert _numbers(kind, first)[0] == 0
    next(ADAPTERS[kind].read(second, _BY_30))
    assert _numbers(kind, third) == list(range(60, 90))
    assert _numbers(kind, second) == list(range(30, 60))


def test_spans_in_order_decode_once(
    tmp_path: Path, kind: str, write: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "rows", _ROWS)
    _, module, name = _KINDS[kind]
    begun = []
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: begun.append(1) or real(*arguments))
    for span in _spans(kind, tmp_path)[::2]:  # as a worker does that shares them with another
        assert len(_numbers(kind, span)) == span.rows
    assert len(begun) == (2 if kind == "parquet" else 1)  # row groups; archives


@pytest.mark.parametrize("others", [{"s": [None] * _ROWS}, {"t": pa.array([0] * _ROWS, pa.timestamp("s"))}])
def test_a_row_group_without_the_texts_that_are_asked_for_is_not_begun_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, object]
) -> None:
    texts = pa.array([None, *["x"] * (_ROWS - 1)])
    pq.write_table(pa.table({"n": range(_ROWS), "s": texts, **others}), tmp_path / "rows")
    begun = []
    real = parquet._RowGroup
    monkeypatch.setattr(parquet, "_RowGroup", lambda *arguments: begun.append(1) or real(*arguments))
    for span in _spans("parquet", tmp_path):
        assert ADAPTERS["parquet"].texts(span, _BY_30, {"s"}) is None
        assert len(_numbers("parquet", span)) == span.rows
    assert len(begun) == 1


def test_a_file_that_became_another_is_read_anew(tmp_path: Path, kind: str, write: Callable[[Path, int], None]) -> None:
    write(tmp_path / "rows", _ROWS)
    assert _numbers(kind, _spans(kind, tmp_path)[0]) == list(range(30))
    write(tmp_path / "rows", _ROWS - 100)
    assert _numbers(kind, _spans(kind, tmp_path)[1]) == list(range(30, 60))
