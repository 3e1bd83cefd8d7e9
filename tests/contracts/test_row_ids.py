"""Ids of a whole table are those of its rows one by one."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mmada.contracts.records import row_id, row_ids

_FIELDS = ("prompt", "response", "reference", "image_sha256")
_TEXT = st.text(st.characters(codec="utf-8"))


@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT, _TEXT)))
def test_ids_of_a_table(rows: list[tuple[str, str, str, str]]) -> None:
    table = pl.DataFrame(rows, schema=dict.fromkeys(_FIELDS, pl.String), orient="row")
    ids = row_ids("chat", table.with_columns(other=pl.lit("x")))
    assert ids.to_list() == [row_id("chat", *fields) for fields in rows]
    assert ids.dtype == pl.String
