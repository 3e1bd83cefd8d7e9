"""Pushing and pulling against a real object store and a real git remote."""

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from flows.remote import pull, push
from mmada.errors import StorageError
from tests.e2e.project_folder import ENVIRONMENT, ROOT, run
from tests.services import S3Server, free_port

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def clean_environment(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that open the test's store, and no others; commands of this virtual environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (ENVIRONMENT | dict(s3_server.variables)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # it stands in the remote's configuration
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def _git(folder: Path, *arguments: str) -> str:
    return run(folder, "git", *arguments).stdout


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one tracked file and no remotes."""
    project = tmp_path_factory.mktemp("tracked")
    (project / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, project / ".dvc" / name)
    _git(project, "init", "--quiet", "--initial-branch", "work")
    (project / "rows.jsonl").write_text("{}\n")
    run(project, "dvc", "add", "--quiet", "rows.jsonl")
    _git(project, "add", "--all")
    _git(project, "commit", "--quiet", "--message", "rows")
    return project


@pytest.fixture
def shared(tracked: Path, s3_server: S3Server, tmp_path: Path) -> Path:
    """A project with a default DVC remote and a git remote."""
    project = shutil.copytree(tracked, tmp_path / "project")
    _git(tmp_path, "init", "--quiet", "--bare", "git")
    _git(project, "remote", "add", "origin", str(tmp_path / "git"))
    _set_remote(project, s3_server.make_bucket(f"remote-{uuid.uuid4().hex[:8]}"), s3_server.endpoint)
    _git(project, "commit", "--quiet", "--all", "--message", "remote")
    return project


def _set_remote(project: Path, url: str, endpoint: str) -> None:
    """What `dvc remote add --default store URL` and `dvc remote modify store endpointurl ENDPOINT` write."""
    config = (ROOT / ".dvc" / "config").read_text().replace("[core]\n", "[core]\n    remote = store\n")
    remote = f"['remote \"store\"']\n    url = {url}\n    endpointurl = {endpoint}\n"
    (project / ".dvc" / "config").write_text(config + remote)


def test_what_is_pushed_is_pulled_from_a_clone(shared: Path, tmp_path: Path) -> None:
    assert push(shared) == ["dvc remote store", "git remote origin, branch work"]
    _git(tmp_path, "clone", "--quiet", "--branch", "work", str(tmp_path / "git"), "clone")
    assert not (tmp_path / "clone" / "rows.jsonl").exists()
    pull(tmp_path / "clone", ["rows.jsonl"])
    assert (tmp_path / "clone" / "rows.jsonl").read_text() == "{}\n"


def test_a_project_without_remotes_pushes_nothing(shared: Path) -> None:
    shutil.copy(ROOT / ".dvc" / "config", shared / ".dvc" / "config")
    _git(shared, "remote", "remove", "origin")
    assert push(shared) == []
    with pytest.raises(StorageError, match="dvc remote add --default"):
        pull(shared)


def test_a_broken_configuration_is_no_missing_remote(shared: Path) -> None:
    with (shared / ".dvc" / "config").open("a") as stream:
        stream.write("[core]\n")
    with pytest.raises(StorageError, match="Duplicate section"):
        push(shared)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrongsecret"}, "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_refused_key_names_the_variables_and_pushes_no_commit(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], message: str
) -> None:
    for name, value in change.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(StorageError, match=message) as caught:
        push(shared, pauses=(60.0,))
    assert time.monotonic() - began < 60, "a refused key is not tried again"
    assert "wrongsecret" not in str(caught.value)
    assert _git(tmp_path / "git", "branch", "--list") == "", "no commit is visible whose bytes are not"


def test_a_store_that_is_away_is_tried_again_and_then_named(shared: Path, s3_server: S3Server) -> None:
    config = shared / ".dvc" / "config"
    right = config.read_text()
    away = right.replace(s3_server.endpoint, f"http://127.0.0.1:{free_port()}")
    config.write_text(away)
    with pytest.raises(StorageError, match=r"(?s)AWS_ENDPOINT_URL.*endpointurl.*127\.0\.0\.1"):
        push(shared, pauses=())
    back = threading.Timer(1.0, config.write_text, [right])
    back.start()
    assert push(shared, pauses=(2.0, 2.0, 2.0))[0] == "dvc remote store"


def test_a_missing_bucket_is_named(shared: Path, s3_server: S3Server) -> None:
    _set_remote(shared, "s3://no-such-bucket/dvc", s3_server.endpoint)
    with pytest.raises(StorageError, match="create it"):
        push(shared, pauses=())


def test_a_git_remote_that_refuses_is_explained_without_its_password(shared: Path) -> None:
    _git(shared, "remote", "set-url", "origin", f"http://me:hunter2@127.0.0.1:{free_port()}/project.git")
    with pytest.raises(StorageError, match="git push to origin") as caught:
        push(shared, pauses=())
    assert "hunter2" not in str(caught.value)


def test_a_push_waits_for_the_one_before_it(shared: Path) -> None:
    lock = shared / ".mmada" / "locks" / "remote"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print(1,flush=True); time.sleep(3)",
            str(lock),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    push(shared)
    assert holder.poll() is not None, "the push ended only after the holder of the lock"
    holder.stdout.close()
