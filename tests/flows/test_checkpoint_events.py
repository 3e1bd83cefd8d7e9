"""Checkpoints of a run reach the project once, whole and traceable, also after a kill in between."""

import logging
from pathlib import Path

import pytest

from flows import checkpoint_events
from flows.checkpoint_events import publish, publish_models, published_on_the_way
from mmada.lineage.manifest import open_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from tests.e2e.project_folder import make_project
from tests.published import publish_by_training

LOG = logging.getLogger("test")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    emitted: list[str] = []
    monkeypatch.setattr(
        checkpoint_events, "emit_event", lambda name, *, resource, payload: emitted.append(payload["checkpoint"])
    )
    return emitted


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_project(tmp_path / "workspace")


def _train(workspace: Path, step: int) -> str:
    """What a training run does on its way; returns the checkpoint's id."""
    data = workspace / "data"
    checkpoints, provenance = data / "checkpoints", data / "provenance"
    folder = publish_by_training(checkpoints, provenance, step, lambda made: (made / "w").write_bytes(b"w"))
    return open_artifact(folder).id


def test_a_checkpoint_is_published_once(project: Path, workspace: Path, events: list[str]) -> None:
    id_ = _train(workspace, 3)
    source = workspace / "data/checkpoints" / id_[:16]
    assert publish(source, workspace, project)
    assert not publish(source, workspace, project)
    assert events == [id_]
    assert open_artifact(project / "data/checkpoints" / id_[:16]).id == id_
    assert ProvenanceStore(project / "data/provenance").records(id_)


def test_what_appears_in_the_meantime_is_published(project: Path, workspace: Path, events: list[str]) -> None:
    left_by_a_killed_run = _train(workspace, 1)
    with published_on_the_way(workspace, project, LOG):
        appeared = _train(workspace, 2)
    assert sorted(events) == sorted([left_by_a_killed_run, appeared])


def test_finished_models_are_published_where_they_lie_here(project: Path, workspace: Path, events: list[str]) -> None:
    model = workspace / "data/models/stage2"
    model.mkdir(parents=True)
    (model / "w").write_bytes(b"w")
    artifact = write_manifest(model, stage="train", key="stage2", version=1, metadata={})
    for _ in range(2):
        publish_models(workspace, project, ["select", "train@stage1", "train@stage2"])
    assert events == [artifact.id], "stage1's model came from the cache and was never on disk"
