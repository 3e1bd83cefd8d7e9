"""The Prefect UI and the schedule as doors to the same graph, on Postgres: what is triggered, cancelled and killed."""

import json
import time
from pathlib import Path

import httpx
import pytest
import yaml

from mmada.evaluation.score_store import ScoreStore
from mmada.git import git
from mmada.lineage.manifest import read_artifact
from mmada.training.checkpoint_folders import published_checkpoints
from tests.e2e.project_folder import run
from tests.services import Served

pytestmark = pytest.mark.long


def _workspaces(served: Served, what: str) -> set[Path]:
    """Workspaces whose request holds `what`, as their branches say."""
    branches = git(served.project, "branch", "--list", "runs/*", "--format=%(refname:short)").split()
    asked = {branch: git(served.project, "log", "-1", "--format=%B", branch) for branch in branches}
    return {served.project / ".mmada" / branch for branch, request in asked.items() if what in request}


def _published(project: Path) -> set[str]:
    return {read_artifact(folder).id for folder in published_checkpoints(project / "data/checkpoints")}


def test_an_impossible_request_is_refused(served: Served) -> None:
    for wrong in (
        {"stage": "stage9"},
        {"stage": "stage1", "data_version": "none"},
        {"stage": "stage1", "overrides": {"max_steps": -5}},
        {"stage": "stage1", "overrides": {"learning_rte": 0.1}},
    ):
        with pytest.raises(httpx.HTTPStatusError, match="4"):
            served.start("train", **wrong)


def test_the_second_door_finds_everything_done(served: Served) -> None:
    ended = served.wait(served.start("pipeline", target="train@stage3"), "COMPLETED", "FAILED", "CRASHED")
    assert ended["state"]["type"] == "COMPLETED"
    assert served.post("task_runs/filter", {"flow_runs": {"id": {"any_": [ended["id"]]}}}) == []
    (workspace,) = _workspaces(served, "pipeline train@stage3")
    assert (workspace / "dvc.lock").read_bytes() == (served.project / "dvc.lock").read_bytes()
    artifacts = served.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [ended["id"]]}}})
    assert artifacts == [], "nothing was made, so there is nothing to show"


def test_runs_side_by_side_do_not_disturb_each_other_and_are_evaluated_once(served: Served) -> None:
    params, earlier = (served.project / "params.yaml").read_bytes(), _published(served.project)
    short = {"max_steps": 8, "publish_every": 0}
    same = [served.start("train", stage="stage1", overrides=short) for _ in range(2)]
    other = served.start("train", stage="stage1", overrides=short | {"learning_rate": 0.001})
    for run_id in (*same, other):
        assert served.wait(run_id, "COMPLETED", "FAILED", "CRASHED")["state"]["type"] == "COMPLETED"
    assert (served.project / "params.yaml").read_bytes() == params

    made = _workspaces(served, '"max_steps": 8')
    assert len(made) == 2, "the same request twice is one run"
    rates = {yaml.safe_load((folder / "params.yaml").read_text())["training"]["stage1"]["optimiser"]["learning_rate"]
             for folder in made}  # fmt: skip
    assert rates == {0.004, 0.001}
    models = [read_artifact(folder / "data/models/stage1") for folder in made]
    assert len({model.id for model in models}) == 2
    for model in models:
        traced = run(served.project, "mmada", "trace", f"data/checkpoints/{model.id[:16]}").stdout
        assert "ingest@captions" in traced

    published = _published(served.project)
    assert {model.id for model in models} <= published - earlier
    sweep = served.start("reevaluate")  # beside the runs that the events start
    store = ScoreStore(served.project / "data/score_store")
    deadline = time.monotonic() + 240
    while not published <= {entry.checkpoint for entry in store.entries()} and time.monotonic() < deadline:
        time.sleep(0.5)
    served.wait(sweep, "COMPLETED")
    ran = served.post("task_runs/filter", {"task_runs": {"name": {"like_": "evaluate@c_"}}, "limit": 200})
    assert sorted(task["name"] for task in ran) == sorted(f"evaluate@c_{id_[:16]}" for id_ in published)
    assert {task["state_type"] for task in ran} == {"COMPLETED"}
    printed = json.loads(run(served.project, "mmada", "scores", "--json").stdout)
    assert {row["checkpoint"] for row in printed} >= published
    assert {row["checkpoint"] for row in printed if row["change"]} >= published, "each beside its parent"


def test_a_run_survives_the_death_of_its_worker_and_then_of_the_server(served: Served) -> None:
    started = served.start("train", stage="stage1", overrides={"max_steps": 60, "publish_every": 0})
    for victim in ("worker", "server"):
        served.wait_for_process("mmada run train@stage1")
        served.wait(started, "RUNNING")
        for process in served.processes(f"prefect {victim} start"):
            process.kill()
        if victim == "worker":
            served.wait(started, "CRASHED", "SCHEDULED", "PENDING")
    assert served.wait(started, "COMPLETED", "FAILED")["state"]["type"] == "COMPLETED"
    states = [state["type"] for state in served.get("flow_run_states/", flow_run_id=started)]
    assert states.count("CRASHED") == 1, "the worker's death; work goes on while the server is away"
    (folder,) = _workspaces(served, '"max_steps": 60')
    assert read_artifact(folder / "data/models/stage1")
    assert served.processes("mmada run train@stage1") == []
