"""Scores of a user's classifiers stand beside all other facts, and limits on them drop rows by name and value."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.curation.given_scores import no_scores, read_scores, score
from mmada.errors import InputError

ROWS = pl.DataFrame({"row_id": ["r1", "r2", "r3"], "image_sha256": ["p1", "", "p2"]})


def _file(folder: Path, **columns: list[Any]) -> Path:
    file = folder / "scores.parquet"
    pl.DataFrame(columns).write_parquet(file)
    return file


@pytest.mark.parametrize(("key", "ids"), [("row_id", ["r1", "r3"]), ("image_sha256", ["p1", "p2"])])
def test_scores_reach_the_rows_by_their_id_or_their_pictures(tmp_path: Path, key: str, ids: list[str]) -> None:
    file = _file(tmp_path, **{key: [*ids, "unknown"], "nsfw": [0.25, None, 0.5], "aesthetic": [5, 6, 7]})
    scores = read_scores(file)
    assert scores.names == ["aesthetic", "nsfw"]
    rows = scores.of_rows(ROWS).select("row_id", nsfw=score("nsfw"), aesthetic=score("aesthetic"))
    assert rows.rows() == [("r1", 0.25, 5.0), ("r2", None, None), ("r3", None, 6.0)]


def test_without_a_file_no_row_has_a_score() -> None:
    assert not no_scores().names
    assert no_scores().of_rows(ROWS)["scores"].to_list() == [[], [], []]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row_id": ["r1"]}, r"has the columns \['row_id'\]"),
        ({"id": ["r1"], "nsfw": [0.1]}, "row_id or image_sha256"),
        ({"row_id": ["r1"], "image_sha256": ["p1"], "nsfw": [0.1]}, "row_id or image_sha256"),
        ({"row_id": ["r1"], "nsfw": ["high"]}, "nsfw is String, no number"),
        ({"row_id": ["r1", "r1"], "nsfw": [0.1, 0.2]}, "two lines of row_id r1"),
        ({"image_sha256": ["p1", ""], "nsfw": [0.1, 0.2]}, "no image_sha256: null or empty"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_scores(_file(tmp_path, **columns))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; it should be a parquet file"):
        read_scores(tmp_path / "scores.parquet")
    (tmp_path / "scores.parquet").write_text("row_id,nsfw\n")
    with pytest.raises(InputError, match="is not a parquet file"):
        read_scores(tmp_path / "scores.parquet")
