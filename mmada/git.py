"""Git, as a command: commits, tags, worktrees."""

import os
import subprocess
from pathlib import Path
from typing import Final

from mmada.errors import MmadaError

_NOBODY: Final = {
    "GIT_AUTHOR_NAME": "mmada",
    "GIT_AUTHOR_EMAIL": "mmada@localhost",
    "GIT_COMMITTER_NAME": "mmada",
    "GIT_COMMITTER_EMAIL": "mmada@localhost",
}
"""Who commits on a machine where git knows no user."""


class GitError(MmadaError):
    """Git refused a command (no repository, a hook, a missing signing key), or is not installed."""


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints. Bytes that are no UTF-8 survive as surrogates. Raises GitError with git's words."""
    try:
        asked = subprocess.run(["git", "config", "user.email"], cwd=folder, capture_output=True, check=False)
        result = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=os.environ | (_NOBODY if asked.returncode else {}),
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"exit code {error.returncode}"
        raise GitError(f"`git {arguments[0]}` failed in {folder.resolve()}; git says: {said}") from None
    except OSError as error:
        raise GitError(f"git cannot be run in {folder.resolve()}: {error}") from None
    return result.stdout
