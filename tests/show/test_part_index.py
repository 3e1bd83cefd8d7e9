"""The index names every part that may hold what is asked for, of the corpus as it is now, and few others."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from mmada.contracts.ingested import STORED_RECORDS, part_name
from mmada.contracts.records import RECORDS
from mmada.contracts.tables import write_table
from mmada.errors import IntegrityError
from mmada.lineage.manifest import write_manifest
from mmada.show.part_index import parts_with_ids, parts_with_place

ROWS = 400
ROWS_PER_PART = 20


def row_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of two raw files in twenty parts, without a manifest."""
    monkeypatch.chdir(tmp_path)
    for number in range(ROWS // ROWS_PER_PART):
        rows = range(number * ROWS_PER_PART, (number + 1) * ROWS_PER_PART)
        table = pl.DataFrame({"row_id": [row_id(row) for row in rows], "row": [row % (ROWS // 2) for row in rows]})
        given = table.with_columns(source_file=pl.lit("ab"[number >= ROWS // ROWS_PER_PART // 2]))
        blank = [pl.lit("", dtype).alias(name) for name, dtype in RECORDS.items() if name not in given.columns]
        write_table(
            given.with_columns(blank).select(list(STORED_RECORDS)),
            tmp_path / part_name("records", number),
            STORED_RECORDS,
        )
    return tmp_path


def finish(folder: Path) -> None:
    write_manifest(folder, stage="ingest", version=1, metadata={})


def numbers(files: list[Path]) -> list[int]:
    return [int(file.stem.partition("-")[2]) for file in files]


def test_every_row_is_found_by_id_beginning_and_place(folder: Path) -> None:
    finish(folder)
    for row in range(0, ROWS, 7):
        id_, part = row_id(row), row // ROWS_PER_PART
        assert numbers(parts_with_ids(folder, [id_])) == [part]
        assert part in numbers(parts_with_ids(folder, [id_[:6], row_id(0)]))
        assert numbers(parts_with_place(folder, "ab"[row >= ROWS // 2], row % (ROWS // 2))) == [part]
    assert parts_with_ids(folder, ["0" * 64, "f" * 7]) == []
    assert parts_with_ids(folder, []) == []
    assert parts_with_place(folder, "b", ROWS) == []


def test_a_corpus_that_lacks_a_part_is_refused_whether_or_not_it_has_an_index(folder: Path) -> None:
    finish(folder)
    parts_with_ids(folder, [row_id(3)])
    (folder / part_name("records", 4)).unlink()
    for asked in (lambda: parts_with_ids(folder, [row_id(ROWS - 1)]), lambda: parts_with_place(folder, "a", 5)):
        with pytest.raises(IntegrityError, match=part_name("records", 4)):
            asked()


def test_another_version_of_the_corpus_has_another_index(folder: Path) -> None:
    finish(folder)
    assert numbers(parts_with_ids(folder, [row_id(7)])) == [0]
    (folder / part_name("records", 0)).rename(folder / part_name("records", 99))
    finish(folder)
    assert numbers(parts_with_ids(folder, [row_id(7)])) == [99]


def test_a_corpus_that_is_being_made_is_searched_whole(folder: Path) -> None:
    assert len(parts_with_ids(folder, [row_id(7)])) == len(parts_with_place(folder, "a", 7)) == ROWS // ROWS_PER_PART
