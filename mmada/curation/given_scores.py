"""Scores that a classifier of the user's gave to rows or pictures: safety, watermarks, aesthetics, quality of text.

What a classifier thinks is data like any other here: a file that lineage names, facts beside all others, and limits in
params.selection that take seconds to move.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from mmada.contracts.facts import SCORES
from mmada.errors import InputError

_KEYS: Final = ("row_id", "image_sha256")
_WANTED: Final = (
    "a parquet file with the column row_id or image_sha256 (text) and a column of numbers for each kind of score"
)


@dataclass(frozen=True)
class GivenScores:
    """`table`: `row_id` or `image_sha256`, each once, with `scores` (contracts.facts.SCORES); `names`: kinds of
    score.
    """

    table: pl.DataFrame
    names: Sequence[str]

    def of_rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` (row_id, image_sha256, ...) with the `scores` of the row or its picture; no scores: an empty list."""
        joined = rows.join(self.table, on=self.table.columns[0], how="left", maintain_order="left")
        return joined.with_columns(pl.col("scores").fill_null([]))


def no_scores() -> GivenScores:
    """What there is without a file."""
    return GivenScores(pl.DataFrame(schema={"row_id": pl.String, "scores": SCORES}), ())


def read_scores(file: Path) -> GivenScores:
    """The scores in a file. Raises InputError for a file that does not hold any."""
    where = f"annotation.scores: {file}"
    try:
        table = pl.read_parquet(file)
    except FileNotFoundError:
        raise InputError(f"{where} does not exist; it should be {_WANTED}") from None
    except PolarsError as error:
        raise InputError(f"{where} is not {_WANTED}: {error}") from None
    keys = [name for name in _KEYS if name in table.columns]
    names = sorted(set(table.columns) - set(keys))
    if len(keys) != 1 or table.schema[keys[0]] != pl.String or not names:
        raise InputError(f"{where} has the columns {table.columns}; it should be {_WANTED}")
    if bad := [name for name in names if not table.schema[name].is_numeric()]:
        raise InputError(f"{where}: {bad[0]} is {table.schema[bad[0]]}, no number; it should be {_WANTED}")
    (key,) = keys
    if table.filter(pl.col(key).fill_null("") == "").height:
        raise InputError(f"{where} has scores of no {key}: null or empty")
    if (twice := table.filter(pl.col(key).is_duplicated())).height:
        raise InputError(f"{where} has two lines of {key} {twice[key][0]}")
    scored = [
        pl.when(pl.col(name).is_not_null()).then(pl.struct(name=pl.lit(name), value=pl.col(name).cast(pl.Float64)))
        for name in names
    ]
    return GivenScores(table.select(key, scores=pl.concat_list(scored).list.drop_nulls()), names)


def score(name: str) -> pl.Expr:
    """The score of this name in the column `scores`, null where there is none."""
    entry = pl.element()
    of_name = entry.filter(entry.struct.field("name") == name).struct.field("value")
    return pl.col("scores").list.eval(of_name).list.first()
