"""A command and all that it started end together, whatever they do against it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from flows.process_tree import end_all, run_tree

ROOT = Path(__file__).resolve().parents[2]

# Three levels, each in a session of its own and deaf to SIGTERM, like a launcher that was written without care.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
depth, marker = int(sys.argv[1]), sys.argv[2]
if depth:
    subprocess.Popen([sys.executable, __file__, str(depth - 1), marker], start_new_session=True)
else:
    print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> list[str]:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    return [sys.executable, str(script), "2", str(tmp_path)]


def _alive(marker: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if marker in command and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_output_and_exit_code_come_back(tmp_path: Path) -> None:
    lines: list[str] = []
    code = run_tree(
        ["sh", "-c", "echo one; echo two >&2; exit 7"], cwd=tmp_path, environment=os.environ, on_line=lines.append
    )
    assert (code, lines) == (7, ["one", "two"])


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    script = f"setsid sleep 600 {tmp_path} >/dev/null 2>&1 & echo started"
    code = run_tree(["sh", "-c", script], cwd=tmp_path, environment=os.environ, on_line=lambda line: None)
    assert code == 0
    assert _alive(str(tmp_path)) == []


def test_a_stubborn_tree_is_gone_within_ten_seconds(stubborn: list[str], tmp_path: Path) -> None:
    up = threading.Event()
    codes: list[int] = []

    def run() -> None:
        codes.append(run_tree(stubborn, cwd=tmp_path, environment=os.environ, on_line=lambda line: up.set()))

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(30)
    assert len(_alive(str(tmp_path))) >= 3
    end_all()
    thread.join(10)
    assert not thread.is_alive()
    assert codes[0] != 0
    assert _alive(str(tmp_path)) == []


def test_the_tree_ends_when_its_caller_is_killed(stubborn: list[str], tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from flows.process_tree import run_tree; "
        "run_tree(sys.argv[1:], cwd=Path(), environment=os.environ, on_line=lambda line: print(line, flush=True))"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, *stubborn], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 10
    while _alive(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _alive(str(tmp_path)) == []
