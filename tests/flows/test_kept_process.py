"""A kept process comes back when it ends, not in a rush when it cannot run, and ends when asked to."""

import os
import sys
import time
from pathlib import Path

import psutil

from flows.kept_process import KeptProcess


def _kept(tmp_path: Path, code: str) -> KeptProcess:
    return KeptProcess("test", [sys.executable, "-c", code], os.environ, tmp_path / "log")


def _wait_for(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    kept = _kept(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    pids = lambda: [int(line) for line in (tmp_path / "log").read_text().split()] if (tmp_path / "log").exists() else []  # noqa: E731
    kept.keep()
    assert _wait_for(lambda: len(pids()) == 1)
    psutil.Process(pids()[0]).kill()
    assert _wait_for(lambda: kept.keep() or len(pids()) == 2)
    kept.end()
    assert not any(psutil.pid_exists(pid) for pid in pids())


def test_a_process_that_cannot_run_is_not_started_in_a_rush(tmp_path: Path) -> None:
    kept = _kept(tmp_path, "print('tried', flush=True); raise SystemExit(3)")
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        kept.keep()
        time.sleep(0.02)
    kept.end()
    assert 1 <= (tmp_path / "log").read_text().count("tried") <= 3
