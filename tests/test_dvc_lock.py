"""What a kill has cut short of DVC's files is mended; what is whole, or becomes whole, stays."""

import threading
import time
from pathlib import Path

import pytest

from mmada.dvc_lock import mend_torn_files
from tests.e2e.project_folder import run


def write(project: Path, content: str) -> Path:
    table = project / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(content)
    return table


@pytest.mark.parametrize("torn", ["", '{"write": {"a'])
def test_dvc_runs_again_after_its_table_was_cut_short(tmp_path: Path, torn: str) -> None:
    run(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    run(tmp_path, "dvc", "stage", "add", "--quiet", "--name", "one", "--outs", "out", "echo 1 > out")
    table = write(tmp_path, torn)
    assert run(tmp_path, "dvc", "repro", check=False).returncode != 0
    assert mend_torn_files(tmp_path)
    assert not table.exists()
    run(tmp_path, "dvc", "repro")


def test_a_table_that_is_being_written_stays(tmp_path: Path) -> None:
    table = write(tmp_path, "")

    def finish() -> None:
        time.sleep(0.2)
        table.write_text("{}")

    writer = threading.Thread(target=finish)
    writer.start()
    assert not mend_torn_files(tmp_path)
    writer.join()
    assert table.read_text() == "{}"


def test_without_a_table_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert not mend_torn_files(tmp_path)


@pytest.mark.parametrize("left", [0.0, 0.001, 0.3, 0.6, 0.9, 0.99, 1.0])
def test_dvc_runs_again_after_its_lockfile_was_cut_short(tmp_path: Path, left: float) -> None:
    run(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    for name in ("one", "two", "three"):
        run(tmp_path, "dvc", "stage", "add", "--quiet", "--name", name, "--outs", name, f"echo {name} > {name}")
    run(tmp_path, "dvc", "repro", "--quiet")
    lockfile = tmp_path / "dvc.lock"
    whole = lockfile.read_bytes()
    lockfile.write_bytes(whole[: round(left * len(whole))])
    mended = bool(mend_torn_files(tmp_path))
    assert mended or left > 0.001  # what is left may be a whole table of fewer entries
    assert not (mended and left == 1.0)
    assert not lockfile.exists() or whole.startswith(lockfile.read_bytes())
    run(tmp_path, "dvc", "repro", "--quiet")
    assert lockfile.read_bytes() == whole


def test_a_lockfile_that_git_could_not_merge_is_left_alone(tmp_path: Path) -> None:
    text = "schema: '2.0'\nstages:\n<<<<<<< HEAD\n  one:\n=======\n  two:\n>>>>>>> other\n"
    (tmp_path / "dvc.lock").write_text(text)
    assert not mend_torn_files(tmp_path)
    assert (tmp_path / "dvc.lock").read_text() == text
