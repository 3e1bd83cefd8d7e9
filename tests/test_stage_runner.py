"""Where an output goes when its stage is done."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mmada import stage_runner
from mmada.contracts.ingested import read_records
from mmada.errors import StorageError
from mmada.lineage.manifest import open_artifact
from mmada.params_schema import load_params
from mmada.stage_runner import run_stage


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def _declare_rows(project: Path) -> None:
    """A corpus `rows`, the file rows.jsonl."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    columns = {"prompt": "q", "response": "a"}
    rows = {"path": "rows.jsonl", "format": "jsonl", "task": "chat", "columns": columns}
    params["corpora"]["rows"] = {**rows, "source": "made here", "licence": "CC0-1.0"}
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_data_may_lie_on_another_disk(project: Path, other_disk: Path) -> None:
    _declare_rows(project)
    (project / "data").symlink_to(other_disk)
    for count in (1, 2):  # into nothing, then over what is there
        (project / "rows.jsonl").write_text('{"q": "1", "a": "2"}\n' * count)
        run_stage("ingest@rows", load_params(project / "params.yaml"))
        made = open_artifact(project / "data" / "ingested" / "rows")
        assert read_records(made.path, "rows").height == count
    assert [path.name for path in (other_disk / "ingested").iterdir()] == ["rows"]
    assert list((project / ".mmada" / "partial").iterdir()) == []


def test_a_project_that_may_not_be_written_is_told_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _declare_rows(project)
    (project / "rows.jsonl").write_text('{"q": "1", "a": "2"}\n')
    monkeypatch.setattr(stage_runner, "WORK_DIR", Path("/sys/nobody-makes-folders-here"))
    with pytest.raises(StorageError, match=r"may not write .*nobody-makes-folders-here"):
        run_stage("ingest@rows", load_params(project / "params.yaml"))
