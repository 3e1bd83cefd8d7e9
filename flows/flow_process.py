"""The process of one flow run: Prefect's engine, with a mark that shows to this machine whether it is alive.

A worker starts `python -m flows.flow_process`. The process ends with its worker, and the kernel frees its mark: a dead
run is known for certain and at once, where missing heartbeats would be a guess. `flows.recovery` reads the marks.
"""

import fcntl
import os
import runpy
import sys
from pathlib import Path
from typing import Final

from mmada.processes import die_with_parent

MARKS: Final = Path(".mmada/flow_runs")
"""One file per flow run that this machine has started; its process holds a lock on it while it lives."""


def main() -> None:
    """Run Prefect's engine for the flow run that the environment names."""
    die_with_parent()
    mark = MARKS / os.environ["PREFECT__FLOW_RUN_ID"]
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # waits for an earlier process of this run that is just ending
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        sys.argv = ["prefect.engine"]
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def is_alive(mark: Path) -> bool:
    """Whether a process holds the mark."""
    with mark.open("r") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def starts(mark: Path) -> int:
    """How often the run was started on this machine."""
    return len(mark.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
