"""Git, as a command: commits, tags, worktrees."""

import os
import subprocess
from pathlib import Path
from typing import Final

_NOBODY: Final = {
    "GIT_AUTHOR_NAME": "mmada",
    "GIT_AUTHOR_EMAIL": "mmada@localhost",
    "GIT_COMMITTER_NAME": "mmada",
    "GIT_COMMITTER_EMAIL": "mmada@localhost",
}
"""Who commits on a machine where git knows no user."""


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints. Bytes that are no UTF-8 survive as surrogates.

    Raises CalledProcessError with git's own message in `stderr`, FileNotFoundError where git is not installed.
    """
    asked = subprocess.run(["git", "config", "user.email"], cwd=folder, capture_output=True, check=False)
    try:
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
        error.add_note(f"git says: {error.stderr.strip()}")  # itself it names the command and the code alone
        raise
    return result.stdout
