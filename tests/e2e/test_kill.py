"""kill -9 during every kind of stage, then `dvc repro`: the same final bytes as an undisturbed run."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from flows.stage_graph import read_stage_graph
from mmada.dvc_lock import mend_torn_files
from tests.e2e.project_folder import ENVIRONMENT, output_ids, repro

pytestmark = pytest.mark.long


def start_and_kill(project: Path, address: str, delay: float, *options: str) -> bool:
    """Start one stage through dvc, kill dvc and the stage `delay` seconds into it; False when it ended before."""
    dvc = subprocess.Popen(
        ["dvc", "repro", "--single-item", *options, address],
        cwd=project,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    lock = project / ".mmada" / "locks" / address
    while not lock.exists() and dvc.poll() is None:
        time.sleep(0.02)
    time.sleep(delay)
    alive = dvc.poll() is None
    if alive:
        os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait()
    mend_torn_files(project)  # as `mmada check` does
    return alive


def _stage_processes(project: Path) -> list[str]:
    """Commands of running processes whose current directory is the project."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == project and b"mmada" in (entry / "cmdline").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_killed_stages_end_with_the_bytes_of_an_undisturbed_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    shutil.rmtree(project / ".mmada")  # no unit is done, and no run of a stage is remembered:
    anew = ("--force", "--no-run-cache")
    rng = random.Random(7)
    killed: set[str] = set()
    monkeypatch.chdir(project)  # DVC names stages relative to the current directory
    one_of_each = {address.partition("@")[0]: address for address in read_stage_graph(project).order}
    for kind, address in reversed(one_of_each.items()):  # what it reads is still there
        if start_and_kill(project, address, rng.uniform(0.0, 1.0), *anew):
            killed.add(kind)
            deadline = time.monotonic() + 5
            while _stage_processes(project) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert _stage_processes(project) == [], f"{address} outlived its parent"
    assert repro(project, "--single-item", *anew, *one_of_each.values()) == list(one_of_each.values())
    assert len(killed) >= 10, f"too few stages were still running when they were killed: {killed}"
    repro(project)  # a kill may have cut entries of stages that were not killed off dvc.lock; DVC remembers their runs
    assert output_ids(project) == output_ids(finished)
    assert repro(project) == []
