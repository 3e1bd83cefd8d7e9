"""`dvc repro` after no change, beside graphs of as many stages that do nothing: bare ones, and ones of our shape."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def bench_noop_repro() -> dict[str, float]:
    """Best of several rounds each; needs a project whose graph has run (`make demo`), and is empty otherwise.

    `bare`: no dependencies, no parameters. `same_shape`: the same edges and watched parameters between one-byte files,
    so what is left of the ratio is ours and not DVC's work per edge and parameter.
    """
    lock = ROOT / "dvc.lock"
    if not lock.exists():
        return {}
    stages = yaml.safe_load(lock.read_text())["stages"]
    ours = min(_run(ROOT, "dvc", "repro", "--quiet") for _ in range(ROUNDS))
    bare = {f"s{number}": {"cmd": f"echo {number} > {number}", "outs": [str(number)]} for number in range(len(stages))}
    seconds = {"ours_s": ours, "bare_s": _noop_seconds(bare), "same_shape_s": _noop_seconds(_same_shape(stages))}
    ratios = {f"ratio_{name}": ours / seconds[f"{name}_s"] for name in ("bare", "same_shape")}
    return {"stages": len(stages), **seconds, **ratios}


def _same_shape(stages: dict[str, Any]) -> dict[str, Any]:
    """The graph of dvc.lock with files of one byte."""
    made = {out["path"]: name.replace("@", "-") for name, stage in stages.items() for out in stage["outs"]}

    def makers(path: str) -> set[str]:
        return {
            f"out-{name}"
            for out, name in made.items()
            if f"{path}/".startswith(f"{out}/") or f"{out}/".startswith(f"{path}/")
        }

    body = {}
    for name, stage in stages.items():
        own = name.replace("@", "-")
        deps = sorted(set().union(*(makers(dep["path"]) for dep in stage.get("deps", []))) - {f"out-{own}"})
        params = list(stage.get("params", {}).get("params.yaml", {}))
        body[own] = {"cmd": f"echo 1 > out-{own}", "deps": deps, "params": params, "outs": [f"out-{own}"]}
    return body


def _noop_seconds(stages: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "params.yaml", folder)
        _run(folder, "git", "init", "--quiet")
        _run(folder, "dvc", "init", "--quiet")
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        _run(folder, "dvc", "repro", "--quiet")
        return min(_run(folder, "dvc", "repro", "--quiet") for _ in range(ROUNDS))


def _run(folder: Path, *command: str) -> float:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started
