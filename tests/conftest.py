"""Fixtures that many test files share."""

import os

# Tests run side by side; two threads each would only wait for one another. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

from tests.absent import absent
from tests.e2e.project_folder import make_project, run

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.services"]


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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose graph has run from nothing, with a log of what its readers read."""
    project = make_project(tmp_path_factory.mktemp("finished") / "project", ROOT / "tests/e2e/small.yaml")
    logs = project / "reader_logs"
    logs.mkdir()
    printed = run(project, "dvc", "repro", MMADA_SAMPLE_LOG=str(logs)).stdout
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    assert sorted(ran) == sorted(lock["stages"])
    return project


class _OneWorkerForTheSmallProject(LoadScopeScheduling):
    """Tests are dealt out one by one; those that start from the small finished project stay together: it is made once.

    (The group marks of pytest-xdist 3.8 have no effect under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        alone = not nodeid.startswith(("tests/e2e/", "tests/browser/")) or "test_real_corpora" in nodeid
        return nodeid if alone else "small project"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Called by pytest-xdist, whatever `--dist` says."""
    return _OneWorkerForTheSmallProject(config, log)
