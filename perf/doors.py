"""From a click to a running training step, and from a published checkpoint to its running evaluation.

Beside Prefect's own share of it: from the click until it says that the run is running.
"""

import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.project_folder import ROOT, make_project, run
from tests.services import Served, serve

ROUNDS = 3
STEPS = 40


def bench_doors() -> dict[str, float]:
    """Medians in seconds, on a served small project (SQLite) that has trained stage 1 before."""
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name) / "project", ROOT / "tests/e2e/small.yaml")
        run(project, "dvc", "repro", "evaluate@stage1")
        with serve(project) as served:
            rounds = [_one(served, learning_rate=0.001 * (number + 1)) for number in range(ROUNDS)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return medians | {"ratio_step_to_prefect": medians["click_to_step_s"] / medians["click_to_prefect_running_s"]}


def _one(served: Served, *, learning_rate: float) -> dict[str, float]:
    """One run that publishes a checkpoint half-way."""
    curves, checkpoints = ".mmada/runs/*/reports/training/stage1.jsonl", "data/checkpoints/*/manifest.json"
    known = {path for pattern in (curves, checkpoints) for path in served.project.glob(pattern)}

    def new(pattern: str) -> list[Path]:
        return [path for path in served.project.glob(pattern) if path not in known]

    overrides = {"max_steps": STEPS, "publish_every": STEPS // 2, "learning_rate": learning_rate}
    clicked = time.time()
    started = served.start("train", stage="stage1", overrides=overrides)
    first_step = _first(lambda: new(curves), lambda path: path.stat().st_mtime)
    published = _first(lambda: new(checkpoints), lambda path: path.stat().st_mtime)
    evaluating = _first(lambda: served.processes("mmada run evaluate@c_"), lambda process: process.create_time())
    served.wait(started, "COMPLETED")
    while not _evaluated(served):
        time.sleep(0.2)
    running = min(
        datetime.fromisoformat(state["timestamp"]).timestamp()
        for state in served.get("flow_run_states/", flow_run_id=started)
        if state["type"] == "RUNNING"
    )
    return {
        "click_to_prefect_running_s": running - clicked,
        "click_to_step_s": first_step - clicked,
        "published_to_evaluation_s": evaluating - published,
    }


def _evaluated(served: Served) -> bool:
    """Whether no run is going on or waiting, so that the next round meets an idle machine."""
    going = {
        "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}},
        "expected_start_time": {"before_": _now()},
    }
    return not served.post("flow_runs/filter", {"flow_runs": going})


def _now() -> str:
    return datetime.now().astimezone().isoformat()


def _first(find: Any, when: Any, *, seconds: float = 120) -> float:
    """When the first of what `find` finds came to be (seconds since the epoch)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return min(when(one) for one in found)
        time.sleep(0.02)
    raise TimeoutError(f"nothing came within {seconds:.0f} s")
