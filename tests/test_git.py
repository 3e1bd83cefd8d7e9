"""What people read when git refuses."""

import subprocess
import traceback
from pathlib import Path

import pytest

from mmada.git import git


def test_a_refusal_shows_what_git_said(tmp_path: Path) -> None:
    """As a commit that a hook or a missing signing key stops: the code alone would help nobody."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git/hooks/pre-commit").write_text("#!/bin/sh\necho no tabs, please >&2\nexit 1\n")
    (tmp_path / ".git/hooks/pre-commit").chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(tmp_path, "commit", "--allow-empty", "--message", "one")
    assert "git says: no tabs, please" in "".join(traceback.format_exception(refused.value))
