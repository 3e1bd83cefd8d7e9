"""A worktree per request: the same request meets itself, two requests never meet, and results end on a branch."""

import json
import logging
import os
import shutil
import threading
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.run_workspace import (
    RUNS_DIR,
    RunRequest,
    drop_old_workspaces,
    resolve_commit,
    run_workspace,
    run_workspace_if_free,
)
from mmada.checkpoint_registry import Checkpoint, load_registry, register
from mmada.errors import InputError
from mmada.git import git
from mmada.params_schema import load_params
from tests.e2e.project_folder import make_project, run

LOG = logging.getLogger("test")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "project")
    provenance = folder / "data/provenance"
    (provenance / "rows").mkdir(parents=True)
    (provenance / f"{'a' * 64}.jsonl").write_text(json.dumps({"id": "a" * 64}) + "\n")
    (provenance / "rows" / f"{'a' * 64}.parquet").write_bytes(b"rows")
    return folder


def _request(project: Path, **patch: object) -> RunRequest:
    return RunRequest("train stage1", resolve_commit(project, "HEAD"), patch)


def test_a_request_has_its_parameters_and_leaves_the_project_alone(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with run_workspace(project, _request(project, training={"stage1": {"max_steps": 7}}), log=LOG) as workspace:
        assert load_params(workspace.folder / "params.yaml").training["stage1"].max_steps == 7
        assert (workspace.folder / ".mmada/units").resolve() == (project / ".mmada/units").resolve()
        assert (workspace.folder / "data/provenance" / f"{'a' * 64}.jsonl").exists()
    assert (project / "params.yaml").read_bytes() == before
    assert git(project, "status", "--porcelain", "--untracked-files=no") == ""


def test_results_are_committed_on_a_branch_named_by_the_request(project: Path) -> None:
    request = _request(project, training={"stage1": {"max_steps": 7}})
    with run_workspace(project, request, log=LOG) as workspace:
        made = workspace.folder / "data/provenance" / f"{'b' * 64}.jsonl"
        made.write_text(json.dumps({"id": "b" * 64}) + "\n")
        workspace.finish("Train stage1", LOG)
        workspace.finish("Train stage1", LOG)  # nothing new: no second commit
    branch = f"runs/{request.digest}"
    assert git(project, "rev-list", "--count", f"HEAD..{branch}").strip() == "1"
    assert "max_steps: 7" in git(project, "show", f"{branch}:params.yaml")
    assert '"max_steps": 7' in git(project, "log", "-1", "--format=%B", branch)
    assert (project / "data/provenance" / f"{'b' * 64}.jsonl").exists(), "the project learns how it was made"


def test_the_same_request_meets_itself_and_another_does_not(project: Path) -> None:
    one, other = _request(project), _request(project, training={"stage1": {"seed": 5}})
    with run_workspace(project, one, log=LOG) as workspace:
        (workspace.folder / "half_done").touch()
        with run_workspace_if_free(project, one) as same:
            assert same is None
        with run_workspace_if_free(project, other) as free:
            assert free is not None
            assert free.folder != workspace.folder
    with run_workspace(project, one, log=LOG) as again:
        assert (again.folder / "half_done").exists(), "work goes on where it stopped"


def test_a_second_holder_waits_for_the_first(project: Path) -> None:
    order: list[str] = []
    first_is_in = threading.Event()

    def second() -> None:
        first_is_in.wait()
        with run_workspace(project, _request(project), log=LOG):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with run_workspace(project, _request(project), log=LOG):
        first_is_in.set()
        thread.join(1.0)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("left", ["nothing", "half a worktree", "a removed folder"])
def test_a_half_made_workspace_is_made_again(project: Path, left: str) -> None:
    request = _request(project)
    with run_workspace(project, request, log=LOG) as workspace:
        pass
    if left == "half a worktree":
        (workspace.folder / ".mmada/prepared").unlink()
        (workspace.folder / "params.yaml").unlink()
    elif left == "a removed folder":
        shutil.rmtree(workspace.folder)
    with run_workspace(project, request, log=LOG) as again:
        assert load_params(again.folder / "params.yaml")


def test_a_remote_is_the_same_place_in_a_workspace(project: Path, tmp_path: Path) -> None:
    """DVC writes the path of a folder relative to .dvc, which is another one in a workspace."""
    run(project, "dvc", "remote", "add", "store", "../store")
    run(project, "dvc", "remote", "add", "--local", "own", "../own")
    run(project, "dvc", "remote", "add", "cloud", "s3://bucket/dvc")
    git(project, "commit", "--quiet", "--all", "--message", "remotes")
    with run_workspace(project, _request(project), log=LOG) as workspace, Repo(str(workspace.folder)) as repo:
        urls = {name: remote["url"] for name, remote in repo.config["remote"].items()}
    assert urls == {"store": str(tmp_path / "store"), "own": str(tmp_path / "own"), "cloud": "s3://bucket/dvc"}


def test_registered_checkpoints_come_into_a_workspace_however_old_it_is(project: Path) -> None:
    """Git brings their names alone; without their files every run of the whole graph would fail at their evaluation."""
    kept = Checkpoint(path="data/checkpoints/abc", origin="external", id="c" * 64)
    register("other", kept, project / "models.yaml")
    git(project, "commit", "--quiet", "--all", "--message", "register")
    with run_workspace(project, _request(project), log=LOG):
        pass
    model = project / kept.path
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    with run_workspace(project, _request(project), log=LOG) as workspace:
        assert (workspace.folder / kept.path / "model.safetensors").read_bytes() == b"weights"


def test_a_checkpoint_is_linked_and_registered_in_the_workspace_only(project: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    entry = Checkpoint(path="data/checkpoints/abc", origin="published", id="c" * 64)
    with run_workspace(project, _request(project), log=LOG) as workspace:
        for _ in range(2):
            workspace.add_checkpoint(model, entry, "c_abc")
        assert load_registry(workspace.folder / "models.yaml")["c_abc"] == entry
        assert (workspace.folder / "data/checkpoints/abc/model.safetensors").samefile(model / "model.safetensors")
    assert "c_abc" not in load_registry(project / "models.yaml")


def test_an_unknown_commit_is_named(project: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no commit 'data/none'"):
        resolve_commit(project, "data/none")


def test_a_credential_in_the_local_configuration_holds_in_a_workspace(project: Path) -> None:
    (project / ".dvc/config.local").write_text("['remote \"store\"']\n    url = s3://bucket\n    profile = team\n")
    with run_workspace(project, _request(project), log=LOG) as workspace:
        text = (workspace.folder / ".dvc/config.local").read_text()
    assert "profile = team" in text
    assert str(project / ".dvc/cache") in text


def test_old_workspaces_go_but_none_in_use_and_no_result(project: Path) -> None:
    requests = [_request(project, training={"stage1": {"seed": seed}}) for seed in range(4)]
    for age, request in enumerate(reversed(requests)):
        with run_workspace(project, request, log=LOG) as workspace:
            workspace.finish("Train stage1", LOG)
        os.utime(workspace.lock, (age, age))
    with run_workspace(project, requests[3], log=LOG) as used:
        os.utime(used.lock, (0, 0))
        assert drop_old_workspaces(project, keep=1) == [requests[1].digest, requests[2].digest]
    left = {folder.name for folder in (project / RUNS_DIR).glob("*/")}
    assert left == {requests[0].digest, requests[3].digest}
    with run_workspace(project, requests[1], log=LOG) as again:
        assert load_params(again.folder / "params.yaml").training["stage1"].seed == 1
        assert git(again.folder, "status", "--porcelain", "--untracked-files=no") == ""


def test_a_change_that_is_not_committed_is_left_out_and_named(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("max_text_tokens: 128", "max_text_tokens: 127"))
    with run_workspace(project, _request(project), log=LOG) as workspace:
        assert load_params(workspace.folder / "params.yaml").selection.max_text_tokens == 128
    assert "goes without: params.yaml" in caplog.text
