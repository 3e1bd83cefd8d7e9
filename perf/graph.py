"""`dvc repro` after no change, beside a graph of as many stages that do nothing."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def bench_noop_repro() -> dict[str, float]:
    """Best of several rounds each; needs a project whose graph has run (`make demo`), and is empty otherwise."""
    lock = ROOT / "dvc.lock"
    if not lock.exists():
        return {}
    stages = len(yaml.safe_load(lock.read_text())["stages"])
    with tempfile.TemporaryDirectory() as name:
        trivial = Path(name)
        _run(trivial, "git", "init", "--quiet")
        _run(trivial, "dvc", "init", "--quiet")
        body = {f"s{number}": {"cmd": f"echo {number} > {number}", "outs": [str(number)]} for number in range(stages)}
        (trivial / "dvc.yaml").write_text(yaml.safe_dump({"stages": body}))
        _run(trivial, "dvc", "repro", "--quiet")
        ours = min(_run(ROOT, "dvc", "repro", "--quiet") for _ in range(ROUNDS))
        bare = min(_run(trivial, "dvc", "repro", "--quiet") for _ in range(ROUNDS))
    return {"stages": stages, "ours_s": ours, "trivial_s": bare, "ratio": ours / bare}


def _run(folder: Path, *command: str) -> float:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started
