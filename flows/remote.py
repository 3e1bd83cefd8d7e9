"""Share what was made: push to and pull from the project's default DVC remote, and push the git branch."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mmada.errors import StorageError
from mmada.s3_errors import find_refusal, redact
from mmada.storage import exclusive

_PAUSES: Final = (2.0, 8.0)
"""Seconds before the second and the third try."""
DVC_IS_BUSY: Final = ("is busy, it is being blocked by", "Unable to acquire lock")
"""What DVC prints when another of its processes holds its lock, or the files of this one."""
_LOG_TAIL: Final = 15
_LOCK: Final = Path(".mmada/locks/remote")
"""DVC waits for its own lock 3 s and then fails: pushes and pulls take turns here."""


def push(project: Path, *, home: Path | None = None, pauses: Sequence[float] = _PAUSES) -> list[str]:
    """Push DVC outputs (with the run cache) and then the git branch, each if the project has a remote for it.

    The outputs go first, so that no commit that others can see names bytes that they cannot get. Returns what was
    pushed to, for a log: empty when the project has no remotes. `home`: the project whose worktree `project` is; all
    of its worktrees take turns. Raises StorageError that says which variable to set.
    """
    pushed = []
    with exclusive((home or project) / _LOCK):
        if remote := _dvc_remote(project):
            _dvc(project, ["push", "--run-cache"], remote, pauses)
            pushed.append(f"dvc remote {remote}")
        if remote := _git_remote(project):
            branch = _printed(project, "git", "branch", "--show-current")
            if not branch:
                raise StorageError(f"{project} is on no branch, so git cannot push it: `git switch -c <name>` first")
            _run(project, ["git", "push", "--quiet", remote, branch], f"git push to {remote}", pauses)
            pushed.append(f"git remote {remote}, branch {branch}")
    return pushed


def pull(project: Path, targets: Iterable[str] = (), *, pauses: Sequence[float] = _PAUSES) -> None:
    """Fetch outputs (of `targets`: stage addresses or paths; empty: all) that dvc.lock names and check them out.

    Raises StorageError when the project has no default remote, or that says which variable to set.
    """
    with exclusive(project / _LOCK):
        remote = _dvc_remote(project)
        if not remote:
            raise StorageError(f"{project} has no default DVC remote: `dvc remote add --default <name> s3://<bucket>`")
        _dvc(project, ["pull", *targets], remote, pauses)


def _dvc_remote(project: Path) -> str:
    return _printed(project, sys.executable, "-m", "dvc", "config", "core.remote")


def _git_remote(project: Path) -> str:
    """`origin`, or else the only remote; "" when there is none. Of several, none of which is origin, none is chosen."""
    remotes = _printed(project, "git", "remote").split()
    return "origin" if "origin" in remotes else remotes[0] if len(remotes) == 1 else ""


def _printed(project: Path, *command: str) -> str:
    """What a command that asks for a setting prints; "" when there is no such setting."""
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if result.returncode:
        raise StorageError(f"{' '.join(command[-3:])} failed in {project}: {redact(result.stderr, os.environ)}")
    return result.stdout.strip()


def _dvc(project: Path, arguments: Sequence[str], remote: str, pauses: Sequence[float]) -> None:
    _run(project, [sys.executable, "-m", "dvc", *arguments], f"dvc {arguments[0]} with remote {remote}", pauses)


def _run(project: Path, command: Sequence[str], what: str, pauses: Sequence[float]) -> None:
    """Run a command; after a failure that may pass, wait and try again. Raises StorageError with its last lines."""
    # git must fail rather than ask for a password that nobody will type.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    for pause in [*pauses, None]:
        result = subprocess.run(
            command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if result.returncode == 0:
            return
        refusal = find_refusal(result.stdout)
        transient = refusal.transient if refusal else any(phrase in result.stdout for phrase in DVC_IS_BUSY)
        if pause is None or not transient:
            advice = refusal.advice if refusal else "its last lines say why"
            tail = "\n".join(redact(result.stdout, environment).splitlines()[-_LOG_TAIL:])
            raise StorageError(f"{what} failed in {project}: {advice}\n{tail}")
        time.sleep(pause)
