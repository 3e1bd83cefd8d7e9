"""A project's outputs on a real object store: pushed by one, pulled by another, verified, trained from and traced."""

import json
import shutil
import uuid
from pathlib import Path

import yaml

from tests.e2e.project_folder import repro, run
from tests.services import S3Server


def test_a_fresh_clone_pulls_verifies_and_trains_on(finished: Path, tmp_path: Path, s3_server: S3Server) -> None:
    project = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    variables = {name: value for name, value in s3_server.variables.items() if name != "AWS_ENDPOINT_URL"}
    run(project, "dvc", "remote", "add", "--default", "store", s3_server.make_bucket(f"e2e-{uuid.uuid4().hex[:8]}"))
    run(project, "dvc", "remote", "modify", "store", "endpointurl", s3_server.endpoint)
    run(project, "dvc", "push", **variables)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "what was made")
    committed = run(project, "git", "ls-files", "data").stdout.splitlines()
    small = ("data/provenance/", "data/profiles/")
    assert all(name.startswith(small) for name in committed), "git holds no data, only where it came from"

    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(project), str(clone))
    assert not (clone / ".dvc" / "cache").exists()
    run(clone, "dvc", "pull", **variables)
    assert " 0 findings" in run(clone, "mmada", "verify", "data/models/stage3").stdout
    assert (
        run(clone, "mmada", "trace", "data/models/stage3").stdout
        == run(project, "mmada", "trace", "data/models/stage3").stdout
    )

    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["training"]["stage1"]["max_steps"] = 2
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert repro(clone, "train@stage1") == ["train@stage1"], "everything upstream came from the store"
    rows = [
        json.loads(line) for line in run(clone, "mmada", "trace", "data/models/stage1", "--rows").stdout.splitlines()
    ]
    origin = next(row for row in rows if row["corpus"] == "problems")["origins"][0]
    raw = clone / "data" / "raw" / "demo" / "problems" / origin["source_file"]
    assert "question" in json.loads(raw.read_text().splitlines()[origin["row"]])
