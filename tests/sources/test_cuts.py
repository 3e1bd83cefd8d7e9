"""How files are cut into spans is found out once for each content, and kept for many files together."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmada.sources import units
from mmada.sources.adapters import ADAPTERS
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Limits, Span
from mmada.sources.reading import CorpusSpans, Reader, cut_corpus
from mmada.sources.units import Declaration
from mmada.unit_store import UnitStore
from tests.sources.reading_rows import LIMITS

_FILES = 40


class _Cutting:
    """The adapter of lines that notes which files are cut, and may fail at one of them."""

    def __init__(self, fails_at: str = "") -> None:
        self.cut: list[str] = []
        self.fails_at = fails_at

    def __call__(self, file: RawFile, limits: Limits) -> Iterator[Span]:
        if file.name == self.fails_at:
            raise OSError("the disk is gone")
        self.cut.append(file.name)
        yield from ADAPTERS["jsonl"].split(file, limits)


def _cut(folder: Path, monkeypatch: pytest.MonkeyPatch, cutting: _Cutting) -> CorpusSpans:
    noted = {**ADAPTERS, "jsonl": replace(ADAPTERS["jsonl"], split=cutting)}
    declared = Declaration("jsonl", str(folder / "raw"), {"prompt": "q"}, ["prompt"])
    with monkeypatch.context() as patched:
        patched.setattr(units, "ADAPTERS", noted)
        reader = Reader(LIMITS, _undecoded, UnitStore(folder / "units"))
        return cut_corpus(declared, "*.jsonl", None, reader, where="corpora.rows")


def _undecoded(data: bytes) -> None:
    raise AssertionError("rows of text have no pictures")


def _results(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "units").glob("spans-*/??/*"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for number in range(_FILES):
        (tmp_path / "raw" / f"{number:02d}.jsonl").write_text(f'{{"q": "{number}"}}\n' * 5)
    return tmp_path


def test_a_file_is_cut_once_and_many_leave_one_result(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = _Cutting(), _Cutting()
    spans = _cut(corpus, monkeypatch, first)
    assert len(first.cut) == _FILES
    assert _results(corpus) == 1
    assert _cut(corpus, monkeypatch, again).tasks == spans.tasks
    assert again.cut == []
    (corpus / "raw" / "new.jsonl").write_text('{"q": "new"}\n')
    (corpus / "raw" / "renamed.jsonl").write_bytes((corpus / "raw" / "00.jsonl").read_bytes())
    _cut(corpus, monkeypatch, again)
    assert again.cut == ["new.jsonl"]
    assert _results(corpus) == 2


def test_what_was_cut_before_a_failure_is_not_cut_again(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        _cut(corpus, monkeypatch, _Cutting(fails_at="30.jsonl"))
    later = _Cutting()
    _cut(corpus, monkeypatch, later)
    assert later.cut == [f"{number:02d}.jsonl" for number in range(30, _FILES)]


def test_a_damaged_result_is_made_again(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = _cut(corpus, monkeypatch, _Cutting())
    (result,) = (path for path in (corpus / "units").glob("spans-*/??/*") if path.is_file())
    result.write_bytes(result.read_bytes()[:-1] + b"?")
    later = _Cutting()
    assert _cut(corpus, monkeypatch, later).tasks == spans.tasks
    assert len(later.cut) == _FILES
