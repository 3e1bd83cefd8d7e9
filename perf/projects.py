"""Projects in a folder of their own, and the commands that run there as a user would run them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from mmada.params_patch import patch_params
from mmada.params_schema import PARAMS_FILE

COLUMNS = {"prompt": "question", "response": "response", "reference": "answer"}
"""Of the raw files that benchmarks write."""


def make_project(folder: Path, patch: dict[str, Any]) -> Path:
    """A project with our parameters, changed by a patch (JSON Merge Patch), whose raw files will lie in `raw`."""
    project = folder / "project"
    (project / "raw").mkdir(parents=True)
    shutil.copy(Path(__file__).parent.parent / PARAMS_FILE, project)
    (project / "patch.yaml").write_text(yaml.safe_dump(patch))
    patch_params(project / PARAMS_FILE, project / "patch.yaml")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    return project


def raw_corpus(files: str) -> dict[str, Any]:
    """Parameters of a corpus of questions with responses."""
    rows = {"path": "raw", "files": files, "format": "jsonl", "task": "chat", "columns": COLUMNS}
    return {**rows, "source": "made here", "licence": "CC0-1.0"}


def run(folder: Path, *command: str) -> tuple[float, int]:
    """Seconds that a command takes, and the most memory that its processes hold together, in bytes (what they share is
    counted once).
    """
    started = time.perf_counter()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    most = 0
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        while process.poll() is None:
            most = max(most, _memory(process))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.read()}")
    return seconds, most


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has ended
            continue
    return total
