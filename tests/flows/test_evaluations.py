"""Checkpoints are found by every name under which people and events know them."""

from pathlib import Path

import pytest

from flows.evaluations import candidates, find_candidate
from flows.reevaluate import first_candidates
from mmada.checkpoint_registry import Checkpoint, register
from mmada.errors import InputError
from mmada.evaluation.graph_scores import score_store
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
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
