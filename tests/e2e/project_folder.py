"""A project of its own for end-to-end tests: this repository's files in a new git and DVC repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from mmada.params_patch import patch_params
from mmada.params_schema import load_params

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", "params.yaml", "models.yaml", ".dvcignore", ".gitignore", "mmada", "flows", "data/profiles")

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "SHELL": "/bin/sh",  # the plainest shell that DVC may start commands with: it stays their parent
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@localhost",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@localhost",
}


def make_project(folder: Path, *patches: Path) -> Path:
    """Copy the project to `folder`, apply `patches` to its parameters, and commit it to a new git repository."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    for patch in patches:
        patch_params(folder / "params.yaml", patch)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "project")
    return folder


def run(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project and return what it printed (both streams in stdout).

    Units stay in its process unless MMADA_WORKERS says otherwise: commands run side by side as it is.
    """
    result = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | {"MMADA_WORKERS": "1"} | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout[-6000:]}")
    return result


def repro(folder: Path, *arguments: str) -> list[str]:
    """`dvc repro`; returns the addresses of the stages that ran."""
    printed = run(folder, "dvc", "repro", *arguments).stdout
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]


def output_ids(folder: Path) -> dict[str, str]:
    """Output folder -> md5 that dvc.lock records for its bytes."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    return {
        out["path"]: out["md5"]
        for stage in lock["stages"].values()
        for out in stage["outs"]
        if out["path"] != load_params(folder / "params.yaml").paths.site
    }
