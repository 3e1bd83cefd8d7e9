"""A lock file that a kill cut short is removed; one that is whole, or becomes whole, stays."""

import threading
import time
from pathlib import Path

import pytest

from mmada.dvc_lock import remove_torn_lock
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
    assert remove_torn_lock(tmp_path)
    assert not table.exists()
    run(tmp_path, "dvc", "repro")


def test_a_table_that_is_being_written_stays(tmp_path: Path) -> None:
    table = write(tmp_path, "")

    def finish() -> None:
        time.sleep(0.2)
        table.write_text("{}")

    writer = threading.Thread(target=finish)
    writer.start()
    assert not remove_torn_lock(tmp_path)
    writer.join()
    assert table.read_text() == "{}"


def test_without_a_table_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert not remove_torn_lock(tmp_path)
