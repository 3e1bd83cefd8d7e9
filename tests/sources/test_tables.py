"""Parquet and Arrow tables: columns that are read alone give what whole rows give."""

import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmada.sources import units
from mmada.sources.adapters import ADAPTERS
from mmada.sources.parquet import split_parquet
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect, no_texts
from mmada.sources.units import Declaration, RowTask, parse_rows
from tests.sources.reading_rows import LIMITS

_ROWS = 5
_TEXTS = st.lists(st.text(min_size=1, max_size=6), min_size=_ROWS, max_size=_ROWS)
_BEYOND = pa.array([0, 1, 2, 3, 2**55], pa.timestamp("ms"))
"""The last is a time that Python has no value for."""
_OTHERS = st.sampled_from(
    [
        pa.array(range(_ROWS)),
        pa.array([None] * _ROWS),
        pa.array([0.5, None, float("nan"), 1e300, 2.0]),
        pa.array([b"\xff"] * _ROWS),
        pa.array([[1], [], None, [2, 3], [4]]),
        pa.array([{"a": "x", "b": None}] * _ROWS),
        pa.array([[{"a": datetime.date(2020, 1, 1)}]] * _ROWS),
        pa.array([datetime.datetime(2020, 1, 1)] * _ROWS),
        _BEYOND,
        pa.array(["x", "y", "x", "y", "x"]).dictionary_encode(),
        pa.array(["x", None, "y", "z", ""]),
    ]
)


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=3)


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {"parquet": _write_parquet, "arrow": _write_arrow}


@pytest.mark.parametrize("kind", _WRITERS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(prompts=_TEXTS, others=st.dictionaries(st.sampled_from(["r", "s", "t.u"]), _OTHERS, max_size=3))
@example(prompts=["a"] * _ROWS, others={"s": _BEYOND})
def test_columns_alone_give_what_whole_rows_give(
    tmp_path: Path, kind: str, prompts: list[str], others: dict[str, pa.Array]
) -> None:
    _WRITERS[kind](pa.table({"q": pa.array(prompts), **others}), tmp_path / "rows")
    columns = {"prompt": "q", **({"response": "r"} if "r" in others else {})}
    declared = Declaration(format=kind, path="", columns=columns, required=["prompt"])
    limits = replace(LIMITS, rows_per_unit=2)
    for span in ADAPTERS[kind].split(LocalFile(tmp_path, "rows"), limits):
        task = RowTask(span, declared, limits, lambda _: Defect("image_missing", ""))
        at_once = parse_rows(task)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(ADAPTERS, kind, replace(ADAPTERS[kind], texts=no_texts))
            patch.setattr(units, "_texts", lambda *_: None)
            assert parse_rows(task).equals(at_once)


@pytest.mark.parametrize("kind", _WRITERS)
def test_texts_are_read_without_whole_rows(tmp_path: Path, kind: str) -> None:
    table = pa.table({"q": ["a", "b", "c"], "s": [1, 2, None], "t": [[1], [], [2]]})
    _WRITERS[kind](table, tmp_path / "rows")
    read = [
        ADAPTERS[kind].texts(span, LIMITS, {"q"}) for span in ADAPTERS[kind].split(LocalFile(tmp_path, "rows"), LIMITS)
    ]
    assert [text for texts in read if texts is not None for text in texts["q"]] == ["a", "b", "c"]


def test_two_columns_of_one_name_are_no_texts(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["q", "q"])
    pq.write_table(table, tmp_path / "rows")
    (span,) = split_parquet(LocalFile(tmp_path, "rows"), LIMITS)
    assert ADAPTERS["parquet"].texts(span, LIMITS, {"q"}) is None
