"""What a worker is told to start."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.deployments.runner import RunnerDeployment
from prefect.utilities.processutils import command_from_string

from flows.deployments import deploy


def test_a_run_starts_from_a_folder_with_a_space_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(sys, "executable", "/home/me/my project/.venv/bin/python")
    monkeypatch.setattr(RunnerDeployment, "apply", lambda self: made.append(self.job_variables))
    deploy(Path("/home/me/my project"), sweep=timedelta(minutes=15))
    commands = [command_from_string(variables["command"]) for variables in made]  # as Prefect's worker reads it
    assert commands == [[sys.executable, "-m", "flows.flow_process"]] * 4
