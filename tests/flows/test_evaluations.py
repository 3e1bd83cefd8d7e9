"""Checkpoints are found by every name under which people and events know them, and decoded by it wherever they are
evaluated.
"""

import json
import logging
from pathlib import Path

import pytest

from flows import evaluations
from flows.evaluations import candidates, evaluate_checkpoints, find_candidate
from flows.reevaluate import first_candidates
from flows.run_workspace import RunRequest, RunWorkspace, resolve_commit, run_workspace
from mmada.checkpoint_registry import Checkpoint, register
from mmada.errors import InputError
from mmada.evaluation.graph_scores import score_store
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import load_params
from mmada.training.checkpoint_folders import keep_checkpoint, remove_checkpoint
from tests.e2e.project_folder import make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def _made(project: Path, key: str) -> str:
    """The finished model of a training stage; returns its id."""
    folder = project / "data/models" / key
    folder.mkdir(parents=True)
    (folder / "w").write_bytes(key.encode())
    return write_manifest(folder, stage="train", key=key, version=1, metadata={}).id


def test_a_second_name_finds_the_same_model_which_is_one_candidate(project: Path) -> None:
    id_ = _made(project, "stage3")
    kept = keep_checkpoint(project / "data/models/stage3", project / "data/checkpoints")
    entry = Checkpoint(path=kept.relative_to(project).as_posix(), origin="published", id=id_)
    register("best", entry, project / "models.yaml")
    assert [candidate.name for candidate in candidates(project)] == ["stage3"]
    for name in ("stage3", "best"):
        assert (find_candidate(project, name).name, find_candidate(project, name).model.id) == (name, id_)
    for place in (id_, str(kept), str(project / "data/models/stage3")):
        assert find_candidate(project, place).model.id == id_


def test_an_event_of_a_checkpoint_that_was_scored_and_dropped_meanwhile_is_no_error(project: Path) -> None:
    id_, folder = _made(project, "stage1"), project / "data/models/stage1"
    assert [candidate.model.id for candidate in first_candidates(project, id_)] == [id_]
    scores = project / "data/scores/stage1"
    scores.mkdir(parents=True)
    score_store(project).add(scores, id_, "stage1", read_artifact(folder), ProvenanceStore(project / "data/provenance"))
    remove_checkpoint(folder)
    assert first_candidates(project, id_) == []
    with pytest.raises(InputError, match="no checkpoint"):
        first_candidates(project, "f" * 64)


def test_what_is_not_registered_is_told_from_what_is_not_here(project: Path) -> None:
    with pytest.raises(InputError, match=r"'stage3' is registered in models\.yaml, but its folder data/models/stage3 "):
        find_candidate(project, "stage3")
    with pytest.raises(InputError, match="no checkpoint 'stage9' is registered"):
        find_candidate(project, "stage9")


def _registered(project: Path, name: str, magvit: str) -> None:
    """A checkpoint from elsewhere that was trained with picture tokenizer `magvit`."""
    folder = project / "data/elsewhere" / name
    folder.mkdir(parents=True)
    (folder / "w").write_bytes(name.encode())
    id_ = write_manifest(folder, stage="external", version=1, metadata={"magvit": magvit}).id
    entry = Checkpoint(path=folder.relative_to(project).as_posix(), origin="external", id=id_)
    register(name, entry, project / "models.yaml")


def _inputs(workspace: RunWorkspace) -> str:
    """What the graph would have made in the workspace; returns the id of the picture tokenizer."""
    params = load_params(workspace.folder / "params.yaml")
    for name in params.benchmarks:
        items = workspace.folder / params.paths.benchmark_items / name
        items.mkdir(parents=True)
        write_manifest(items, stage="benchmark_items", key=name, version=1, metadata={})
    magvit = workspace.folder / params.paths.magvit
    magvit.mkdir(parents=True)
    return write_manifest(magvit, stage="train_magvit", version=1, metadata={}).id


def test_a_checkpoint_is_decoded_by_its_registered_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dvc repro evaluate@best` decodes it; so that both are one measurement."""
    patch = tmp_path / "patch.json"
    base = load_params(Path(__file__).parents[2] / "params.yaml").evaluation.decoding["default"]["default"]
    best = base.model_dump(mode="json") | {"text_temperature": 0.125}
    patch.write_text(json.dumps({"evaluation": {"decoding": {"best": {"default": best}}}}))
    project = make_project(tmp_path / "project", patch)
    used: dict[str, float] = {}

    def evaluate(address: str, folder: Path) -> None:
        key = address.removeprefix("evaluate@")
        decoding = load_params(folder / "params.yaml").evaluation.decoding_for(key, "")
        used[key] = decoding["default"].text_temperature
        (folder / "data/scores" / key).mkdir(parents=True)

    monkeypatch.setattr(evaluations, "bring_up_to_date", lambda folder, inputs: None)
    monkeypatch.setattr(evaluations, "repro", evaluate)
    log = logging.getLogger("test")
    with run_workspace(project, RunRequest("evaluations", resolve_commit(project, "HEAD"), {}), log=log) as workspace:
        magvit = _inputs(workspace)
        for name in ("best", "second"):
            _registered(project, name, magvit)
        wanted = [find_candidate(project, name) for name in ("best", "second")]
        keys = [f"c_{candidate.model.id[:16]}" for candidate in wanted]
        entries = evaluate_checkpoints(workspace, wanted, log)
        assert used == dict(zip(keys, (0.125, base.text_temperature), strict=True))
        measurement = evaluations._measurement(workspace.folder, load_params(project / "params.yaml"))
        assert [one.identity for one in entries] == [measurement.identity(one.name, one.model) for one in wanted]
