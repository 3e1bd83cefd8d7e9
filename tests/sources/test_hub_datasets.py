"""Datasets of the Hugging Face hub: streamed in spans of bounded rows, each data file from its beginning on once."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.sources import hugging_face
from mmada.sources.adapters import hub_adapter
from mmada.sources.hugging_face import HubFile
from mmada.sources.raw_files import LocalFile
from mmada.sources.reading import CorpusSpans, Reader, cut_corpus
from mmada.sources.units import Declaration
from mmada.unit_store import UnitStore
from tests.sources.reading_rows import LIMITS

pytest.importorskip("datasets")

_COMMIT = "0" * 40
_ROWS = 10  # of each of two data files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dataset").mkdir()
    for part in range(2):
        table = pl.DataFrame({"text": [f"{part}-{n}" for n in range(_ROWS)]})
        table.write_parquet(tmp_path / "dataset" / f"train-{part:05d}-of-00002.parquet")
    return tmp_path / "dataset"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Every opening of a dataset; one of the hub is the folder's."""
    paths: list[str] = []
    real = hugging_face._load

    def load(path: str, revision: str, split: str) -> Any:
        paths.append(path)
        return real(str(folder), revision, split)

    monkeypatch.setattr(hugging_face, "_load", load)
    return paths


def _cut(path: str, store: UnitStore, max_rows: int | None = None) -> CorpusSpans:
    declared = Declaration("huggingface", path, {"response": "text"}, ["response"], revision=_COMMIT, split="train")
    return cut_corpus(declared, "*", max_rows, Reader(LIMITS, lambda _: None, store), where="corpora.a")  # type: ignore[arg-type, return-value]


def test_spans_hold_a_bounded_number_of_rows_and_together_all(folder: Path) -> None:
    adapter = hub_adapter(str(folder), _COMMIT, "train")
    spans = list(adapter.split(LocalFile(folder, ""), LIMITS))
    assert {span.rows for span in spans} == {LIMITS.rows_per_unit, _ROWS % LIMITS.rows_per_unit}
    rows = [
        (span.file.name, span.first_row + raw.row, raw.content["text"])  # type: ignore[index]  # an object
        for span in spans
        for raw in adapter.read(span, LIMITS)
    ]
    assert rows == [(f"shard-{part:05d}-of-00002", n, f"{part}-{n}") for part in range(2) for n in range(_ROWS)]
    assert len({span.digest for span in spans}) == len(spans)


def test_a_data_file_is_opened_once_for_its_spans(folder: Path, opened: list[str]) -> None:
    adapter = hub_adapter(str(folder), _COMMIT, "train")
    spans = list(adapter.split(LocalFile(folder, ""), LIMITS))
    opened.clear()
    for span in spans:
        assert len(list(adapter.read(span, LIMITS))) == span.rows
    assert len(opened) == 2


def test_what_a_commit_pins_is_counted_once(tmp_path: Path, opened: list[str]) -> None:
    store = UnitStore(tmp_path / "units")
    first = _cut("someone/dataset", store)
    assert opened == ["someone/dataset"]
    again = _cut("someone/dataset", store)
    assert opened == ["someone/dataset"]
    assert [task.span for task in again.tasks] == [task.span for task in first.tasks]
    assert again.digests == first.digests
    assert {again.file_sha256(task) for task in again.tasks} == {
        HubFile("someone/dataset", _COMMIT, "train", number, 2, "").sha256() for number in range(2)
    }


def test_who_needs_few_rows_streams_few(tmp_path: Path, folder: Path) -> None:
    spans = [task.span for task in _cut(str(folder), UnitStore(tmp_path / "units"), max_rows=4).tasks]
    assert [(span.start, span.stop) for span in spans] == [(0, 3), (3, 6)]


def test_a_folder_that_changed_has_other_digests(tmp_path: Path, folder: Path) -> None:
    before = _cut(str(folder), UnitStore(tmp_path / "units"))
    pl.DataFrame({"text": ["another"] * _ROWS}).write_parquet(folder / "train-00001-of-00002.parquet")
    after = _cut(str(folder), UnitStore(tmp_path / "units"))
    assert not set(before.digests) & set(after.digests)
