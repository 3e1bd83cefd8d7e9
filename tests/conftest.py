"""Fixtures that many test files share."""

import os

# Tests run side by side; two threads each would only wait for one another. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _absent(what: str, how: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is absent, and CI must have it: {how}")
    pytest.skip(f"{what} is absent: {how}")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real corpora, named by MMADA_REALDATA; a failure in CI and a skip elsewhere when it is absent."""
    folder = os.environ.get("MMADA_REALDATA", "")
    if not folder or not Path(folder).is_dir():
        _absent("real data", "set MMADA_REALDATA to its folder")
    return Path(folder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with this repository's graph and parameters; the current directory is moved there."""
    for name in ("dvc.yaml", "params.yaml", "models.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
