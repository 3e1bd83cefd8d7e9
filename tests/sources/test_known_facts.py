"""A file that has not changed is hashed once; one that may have changed, again."""

import os
import time
from pathlib import Path

import pytest

from mmada.lineage.manifest import file_sha256
from mmada.sources import known_facts as module
from mmada.sources.known_facts import find_sha256, known_facts
from mmada.sources.raw_files import LocalFile
from mmada.unit_store import UnitStore


class _Clock:
    """The time of day, a while later: files that were just written count as settled."""

    time_ns = staticmethod(lambda: time.time_ns() + 10**10)


def _hashed(folder: Path, names: list[str]) -> tuple[dict[str, str], list[str]]:
    """sha256 by name, by what earlier calls left in the store; and the names of those that were read."""
    read: list[str] = []

    class _Noted(LocalFile):
        def sha256(self) -> str:
            read.append(self.name)
            return super().sha256()

    with known_facts(UnitStore(folder / "units").group("digests")) as known:
        return {name: find_sha256(_Noted(folder, name), known) for name in names}, read


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "time", _Clock)
    for name in "abc":
        (tmp_path / name).write_text(f"the bytes of {name}")
    return tmp_path


def test_only_a_new_file_is_read(folder: Path) -> None:
    first, read = _hashed(folder, ["a", "b"])
    assert sorted(read) == ["a", "b"]
    again, read = _hashed(folder, ["a", "b", "c"])
    assert read == ["c"]
    assert again == first | {"c": file_sha256(folder / "c")}


def test_an_edit_that_keeps_size_and_time_is_seen(folder: Path) -> None:
    _hashed(folder, ["a"])
    before = (folder / "a").stat()
    (folder / "a").write_text("the bytes of ?")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / "a").stat().st_size == before.st_size
    assert _hashed(folder, ["a"]) == ({"a": file_sha256(folder / "a")}, ["a"])


def test_another_file_of_that_name_is_seen(folder: Path) -> None:
    _hashed(folder, ["a", "b"])
    (folder / "b").replace(folder / "a")
    assert _hashed(folder, ["a"]) == ({"a": file_sha256(folder / "a")}, ["a"])


def test_a_file_that_has_just_changed_is_not_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", time)
    (folder / "a").write_text("new")
    _, read = _hashed(folder, ["a"])
    assert read == ["a"]
    _, read = _hashed(folder, ["a"])
    assert read == ["a"]


def test_a_damaged_result_costs_a_hash_and_no_more(folder: Path) -> None:
    first, _ = _hashed(folder, ["a"])
    (result,) = (folder / "units" / "digests").glob("??/*")
    result.write_bytes(result.read_bytes().replace(first["a"].encode(), b"0" * 64))
    assert _hashed(folder, ["a"]) == (first, ["a"])
