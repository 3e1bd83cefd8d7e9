"""Run a command together with everything that it starts, and end all of it as one.

Between the caller and the command stands a small process of ours. It adopts what the command's children leave behind
(a subreaper, Linux), so nothing escapes by changing its group or session; and it ends the tree when it is asked to, and
when its caller is gone, however the caller ended.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

_GRACE_SECONDS: Final = 3.0
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h

_running: Final[set["subprocess.Popen[str]"]] = set()


def run_tree(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
) -> int:
    """Run `command` to its end; `on_line` gets each line that it prints (both streams). Returns its exit code.

    However this call ends, no process that the command started is left.
    """
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), *command],
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.PIPE,  # never written to: its end tells the keeper that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()
    finally:
        _end(process)
        process.wait()
        _running.discard(process)


def end_all() -> None:
    """End every tree that this process is running, from whichever thread. Returns when they are gone."""
    trees = list(_running)
    for process in trees:
        _end(process)
    for process in trees:
        process.wait()


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()


def _keep(command: Sequence[str]) -> int:
    """The process between: start `command`, wait for it or for the word to end it, then leave nothing behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    child = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    while child.poll() is None and not stop.wait(0.05):
        pass
    _end_descendants()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _wait_for_end_of_input(stop: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    stop.set()


def _end_descendants() -> None:
    """SIGTERM first, so that a command may put things away; SIGKILL to what is left, until nothing is."""
    deadline = time.monotonic() + _GRACE_SECONDS
    asked: set[psutil.Process] = set()
    while True:
        alive = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return
        late = time.monotonic() > deadline
        for process in alive:
            try:
                if late:
                    process.kill()
                elif process not in asked:
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        asked.update(alive)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(_keep(sys.argv[1:]))
