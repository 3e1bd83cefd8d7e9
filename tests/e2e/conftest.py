"""The finished small project that end-to-end tests start from."""

from pathlib import Path

import pytest
import yaml

from tests.e2e.project_folder import make_project, run

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose graph has run from nothing, with a log of what its readers read."""
    project = make_project(tmp_path_factory.mktemp("e2e") / "project", HERE / "small.yaml")
    logs = project / "reader_logs"
    logs.mkdir()
    printed = run(project, "dvc", "repro", MMADA_SAMPLE_LOG=str(logs)).stdout
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    assert sorted(ran) == sorted(lock["stages"])
    return project
