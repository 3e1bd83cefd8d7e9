"""Checkpoints of a run reach the project once, whole and traceable, also after a kill in between."""

import logging
from pathlib import Path
from typing import Any

import pytest

from flows import checkpoint_events
from flows.checkpoint_events import publish, publish_models, published_on_the_way, remove_dropped
from mmada.checkpoint_registry import Checkpoint, register
from mmada.errors import InputError
from mmada.evaluation.graph_scores import score_store
from mmada.lineage.manifest import open_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from mmada.training import checkpoint_folders
from mmada.training.checkpoint_folders import keep_checkpoint, published_checkpoints, remove_checkpoint
from mmada.training.retention import Retention
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


def _train(workspace: Path, step: int, **options: Any) -> str:
    """What a training run does on its way; returns the checkpoint's id."""
    data = workspace / "data"
    checkpoints, provenance = data / "checkpoints", data / "provenance"
    folder = publish_by_training(checkpoints, provenance, step, lambda made: (made / "w").write_bytes(b"w"), **options)
    return open_artifact(folder).id


def _train_and_keep_one(project: Path, workspace: Path) -> list[str]:
    """Four checkpoints, of which the run keeps the last; each reaches the project at once. Returns their ids."""
    rule = {"retention": Retention(1, 0, 0), "ledger": project / ".mmada/units/training/run/published.json"}
    ids = []
    for step in range(1, 5):
        ids.append(_train(workspace, step, **rule))
        with published_on_the_way(workspace, project, LOG):
            pass
    return ids


def _score(project: Path, model: Path) -> None:
    artifact, scores = open_artifact(model), project / "data/scores/c"
    scores.mkdir(parents=True, exist_ok=True)
    score_store(project).add(scores, artifact.id, "c", artifact, ProvenanceStore(project / "data/provenance"))


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


def test_what_its_run_drops_goes_once_it_is_scored_unless_it_is_registered(
    project: Path, workspace: Path, events: list[str]
) -> None:
    ids = _train_and_keep_one(project, workspace)
    assert [path.name for path in published_checkpoints(workspace / "data/checkpoints")] == [ids[-1][:16]]
    store = project / "data/checkpoints"
    assert {path.name for path in published_checkpoints(store)} == {id_[:16] for id_ in ids}, "scores are to come"
    first, second, _, last = (store / id_[:16] for id_ in ids)
    for model in (first, second, last):
        _score(project, model)
    entry = Checkpoint(path=f"data/checkpoints/{second.name}", origin="published", id=ids[1])
    register("second", entry, project / "models.yaml")
    remove_dropped(project, LOG)
    assert {path.name for path in published_checkpoints(store)} == {id_[:16] for id_ in ids[1:]}
    assert len(events) == 4


def test_what_another_run_keeps_stays(project: Path, workspace: Path, events: list[str]) -> None:
    _train(workspace, 1, ledger=project / ".mmada/units/training/keeps_all/published.json")
    first = project / "data/checkpoints" / _train_and_keep_one(project, workspace)[0][:16]
    _score(project, first)
    remove_dropped(project, LOG)
    assert first.exists()


@pytest.mark.parametrize("file", ["w", "manifest.json"])
def test_a_checkpoint_that_goes_while_it_is_published_does_not_come_without_its_weights(
    project: Path, workspace: Path, events: list[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    _train(workspace, 1)
    link_tree = checkpoint_folders.link_tree

    def slower_than_retention(source: Path, partial: Path) -> None:
        (source / file).unlink()
        link_tree(source, partial)
        remove_checkpoint(source)

    monkeypatch.setattr(checkpoint_folders, "link_tree", slower_than_retention)
    with published_on_the_way(workspace, project, LOG):
        pass
    assert list((project / "data/checkpoints").glob("*")) == []
    assert events == []


def test_a_folder_that_is_not_what_its_manifest_says_is_not_kept(workspace: Path, tmp_path: Path) -> None:
    source = workspace / "data/checkpoints" / _train(workspace, 1)[:16]
    (source / "w").write_bytes(b"")
    with pytest.raises(InputError, match="holds other files than its manifest"):
        keep_checkpoint(source, tmp_path / "kept")
    assert list((tmp_path / "kept").glob("*")) == []


def test_a_removal_that_was_killed_is_finished_by_the_next(workspace: Path) -> None:
    source = workspace / "data/checkpoints" / _train(workspace, 1)[:16]
    aside = source.with_name(f".{source.name}.removed")
    aside.mkdir()
    (aside / "w").write_bytes(b"w")
    remove_checkpoint(source)
    assert list(source.parent.iterdir()) == []
