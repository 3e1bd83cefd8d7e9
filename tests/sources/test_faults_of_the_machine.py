"""What a disk, a permission or a vanished file does to a reader is never told as a defect of the rows."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmada.contracts.ingested import read_records
from mmada.errors import InputError, UnitsError, UnreadableError
from mmada.sources import raw_files
from mmada.sources.adapters import ADAPTERS
from mmada.sources.picture_files import picture_file, picture_sha256
from mmada.sources.raw_files import LocalFile, LocalFolder
from mmada.stages import ingest as ingest_stage
from tests.sources.reading_rows import LIMITS
from tests.sources.test_adapters import write_tar
from tests.stages.test_ingest import corpus, lines, run

_TABLE = pa.table({"q": [os.urandom(400).hex() for _ in range(500)], "a": ["yes"] * 500})
_MEMBERS = [(f"{row:03d}.txt", os.urandom(1500)) for row in range(300)]


def _write_arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, _TABLE.schema) as writer:
        writer.write_table(_TABLE, 50)


_WRITE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "parquet": ("parquet", lambda path: pq.write_table(_TABLE, path)),
    "arrow": ("arrow", _write_arrow),
    "tar": ("webdataset", lambda path: write_tar(path, _MEMBERS, "w")),
    "tgz": ("webdataset", lambda path: write_tar(path, _MEMBERS, "w:gz")),
    "json": ("json", lambda path: lines(path, [{"q": "x" * 900}] * 400)),
    "jsonl": ("jsonl", lambda path: lines(path, [{"q": "x" * 900}] * 400)),
}


class _Failing(io.FileIO):
    """A disk that cannot read beyond a place, so many times."""

    beyond, times = 140_000, 0

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        if self.tell() >= self.beyond and _Failing.times:
            _Failing.times -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[:5000])


@pytest.fixture
def failing() -> Iterator[type[_Failing]]:
    real, raw_files._Disk.__bases__ = raw_files._Disk.__bases__, (_Failing,)
    yield _Failing
    raw_files._Disk.__bases__, _Failing.times = real, 0


@pytest.mark.parametrize("kind", _WRITE)
def test_what_a_disk_cannot_read_is_no_defect_of_a_row(tmp_path: Path, kind: str, failing: type[_Failing]) -> None:
    format, write = _WRITE[kind]
    write(tmp_path / "rows")
    adapter, file = ADAPTERS[format], LocalFile(tmp_path, "rows")
    spans = list(adapter.split(file, LIMITS))
    failing.times = 1
    with pytest.raises(UnreadableError, match=r"rows cannot be read \(Input/output error\)"):
        list(adapter.split(file, LIMITS))
    failing.times = 1
    with pytest.raises(UnreadableError, match="Input/output error"):
        [list(adapter.read(span, LIMITS)) for span in spans]
    assert failing.times == 0


@pytest.mark.parametrize("times", [1, 1000])
def test_a_disk_that_falters_costs_no_row_and_one_that_stays_broken_is_named(
    tmp_path: Path,
    times: int,
    failing: type[_Failing],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "raw").mkdir()
    pq.write_table(_TABLE, tmp_path / "raw/a.parquet")
    cut = ingest_stage.cut_corpus

    def then_falter(*args: object, **names: object) -> object:
        spans = cut(*args, **names)  # type: ignore[arg-type]
        failing.times = times
        return spans

    monkeypatch.setattr(ingest_stage, "cut_corpus", then_falter)
    monkeypatch.setenv("MMADA_WORKERS", "1")
    declared = corpus(tmp_path / "raw", format="parquet", files="*")
    if times > 1:
        with pytest.raises(UnitsError, match=r"a\.parquet cannot be read \(Input/output error\); mend that"):
            run(tmp_path, declared, rows_per_unit=1000)
        assert "Traceback" not in capfd.readouterr().err
        return
    out, report = run(tmp_path, declared, rows_per_unit=1000)
    assert (failing.times, report.rows_kept, report.dropped) == (0, 500, {})
    assert read_records(out, "records")["prompt"].to_list() == _TABLE["q"].to_pylist()


def test_a_file_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "raw/a.jsonl", [{"q": "1", "a": "2"}])
    find = LocalFolder.files

    def then_delete(folder: LocalFolder, pattern: str) -> list[LocalFile]:
        found = find(folder, pattern)
        found[0].path.unlink()
        return found

    monkeypatch.setattr(LocalFolder, "files", then_delete)
    with pytest.raises(InputError, match=r"a\.jsonl is gone"):
        run(tmp_path, corpus(tmp_path / "raw"))


def test_a_picture_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"any")
    file = picture_file(LocalFolder(tmp_path), "{}", "a.png")
    assert isinstance(file, LocalFile)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UnreadableError, match="Is a directory"):
        picture_sha256(file, LIMITS)
