"""What people read when git refuses."""

from pathlib import Path

import pytest

from mmada.git import GitError, git


def test_a_refusal_shows_what_git_said(tmp_path: Path) -> None:
    """As a commit that a hook or a missing signing key stops: the code alone would help nobody."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git/hooks/pre-commit").write_text("#!/bin/sh\necho no tabs, please >&2\nexit 1\n")
    (tmp_path / ".git/hooks/pre-commit").chmod(0o755)
    with pytest.raises(GitError, match=r"`git commit` failed in .*; git says: no tabs, please$"):
        git(tmp_path, "commit", "--allow-empty", "--message", "one")


def test_a_machine_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"git cannot be run in .*No such file or directory: 'git'"):
        git(tmp_path, "status")
