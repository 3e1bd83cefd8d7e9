"""Fixtures that many test files share."""

import os

# Tests run side by side; two threads each would only wait for one another. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

from mmada.storage import exclusive
from tests.absent import absent
from tests.e2e.project_folder import make_project, run

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.services"]

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real corpora, named by MMADA_REALDATA; a failure in CI and a skip elsewhere when it is absent."""
    folder = os.environ.get("MMADA_REALDATA", "")
    if not folder or not Path(folder).is_dir():
        absent("real data", "set MMADA_REALDATA to its folder")
    return Path(folder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with this repository's graph and parameters; the current directory is moved there."""
    for name in ("dvc.yaml", "params.yaml", "models.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A small project whose graph has run from nothing, with a log of what its readers read.

    It is made once; each worker process of pytest-xdist has a copy of its own.
    """
    if worker_id == "master":
        return _make_finished(tmp_path_factory.mktemp("finished") / "project")
    shared = tmp_path_factory.getbasetemp().parent / "finished"
    with exclusive(shared.with_suffix(".lock")):
        if not (shared / "whole").exists():
            _make_finished(shared / "project")
            (shared / "whole").touch()
        return shutil.copytree(shared / "project", tmp_path_factory.mktemp("finished") / "project", symlinks=True)


def _make_finished(folder: Path) -> Path:
    project = make_project(folder, ROOT / "tests/e2e/small.yaml")
    logs = project / "reader_logs"
    logs.mkdir()
    printed = run(project, "dvc", "repro", MMADA_SAMPLE_LOG=str(logs)).stdout
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    assert sorted(ran) == sorted(lock["stages"])
    return project


_TOGETHER = {
    "tests/e2e/test_real_corpora": "real corpora",
    "tests/e2e/test_serve": "served",
    "tests/browser/": "served",
    "tests/e2e/test_kill": "copies",
    "tests/e2e/test_object_store": "copies",
    "tests/e2e/test_proof": "copies",
    "tests/e2e/test_rollouts": "copies",
    "tests/e2e/": "small project",
    "tests/dispatch/test_ray": "cluster",
}
"""Which tests one worker process runs: those that share something that takes long to make."""

_FIRST = ("small project", "real corpora", "served", "copies", "cluster")


def _place(nodeid: str) -> tuple[int, str]:
    """When a test is dealt out, and with which others: the long ones first, so that no worker ends alone."""
    scope = next((scope for start, scope in _TOGETHER.items() if nodeid.startswith(start)), nodeid)
    return (_FIRST.index(scope) if scope in _FIRST else len(_FIRST)), scope


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Dealt out in this order; see `_place`."""
    items.sort(key=lambda item: _place(item.nodeid)[0])


class _Scheduler(LoadScopeScheduling):
    """The group marks of pytest-xdist 3.8 have no effect under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return _place(nodeid)[1]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Called by pytest-xdist, whatever `--dist` says."""
    config.option.loadscopereorder = False  # our order, not that of the largest groups
    return _Scheduler(config, log)
