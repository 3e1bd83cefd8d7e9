"""What an output is: ids follow content alone, and every changed byte is named."""

import random
import shutil
from pathlib import Path

import pytest

from mmada.errors import InputError, IntegrityError
from mmada.lineage.manifest import MANIFEST_NAME, changed_files, open_artifact, read_artifact, write_manifest


def _folder(root: Path) -> Path:
    (root / "below").mkdir(parents=True)
    (root / "a.bin").write_bytes(b"a" * 1000)
    (root / "below" / "b.bin").write_bytes(b"b" * 1000)
    return root


def test_equal_content_has_an_equal_id_anywhere(tmp_path: Path) -> None:
    ids = {write_manifest(_folder(tmp_path / name), stage="s", version=1, metadata={"k": 1}).id for name in ("x", "y")}
    assert len(ids) == 1


def test_content_version_and_metadata_are_in_the_id(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    first = write_manifest(folder, stage="s", version=1, metadata={}).id
    assert write_manifest(folder, stage="s", version=2, metadata={}).id != first
    assert write_manifest(folder, stage="s", version=1, metadata={"k": 1}).id != first
    (folder / "a.bin").write_bytes(b"a" * 999 + b"b")
    assert write_manifest(folder, stage="s", version=1, metadata={}).id != first


def test_every_single_byte_edit_is_found(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    artifact = write_manifest(folder, stage="s", version=1, metadata={})
    rng = random.Random(1)
    for _ in range(200):
        name = rng.choice(["a.bin", "below/b.bin"])
        original = (folder / name).read_bytes()
        edited = bytearray(original)
        edited[rng.randrange(len(edited))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(edited)
        assert changed_files(artifact) == [name]
        (folder / name).write_bytes(original)
    assert changed_files(artifact) == []


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    write_manifest(folder, stage="s", version=1, metadata={})
    (folder / "a.bin").unlink()
    (folder / "new").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"a\.bin, new"):
        open_artifact(folder)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    write_manifest(folder, stage="s", version=1, metadata={})
    (folder / MANIFEST_NAME).write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        read_artifact(folder)


def test_an_unfinished_output_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished output"):
        open_artifact(_folder(tmp_path / "x"))


def test_a_copy_is_the_same_output(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    first = write_manifest(folder, stage="s", version=1, metadata={})
    shutil.copytree(folder, tmp_path / "copy")
    assert open_artifact(tmp_path / "copy").id == first.id
