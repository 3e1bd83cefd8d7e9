"""Published checkpoints: whole, traceable, under their id."""

import json
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from mmada.lineage.manifest import open_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.training.checkpoints import Position
from mmada.training.guard import SkippedBatch
from mmada.training.publication import Publication
from mmada.training.retention import Published, Retention, superfluous


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    return Publication(
        folder=str(tmp_path / "checkpoints"),
        every=2,
        retention=Retention(0, 0, 0),
        ledger=str(tmp_path / "state" / "published.json"),
        provenance=str(tmp_path / "provenance"),
        key="stage1",
        version=3,
        inputs={"parent": ("a" * 64, "data/models/init")},
        raw_files={},
        params={"training.stage1": {"max_steps": 9}},
        metadata={"magvit": "b" * 64},
    )


def _after(step: int) -> Position:
    return Position(step, 0, "run")


def _weights(text: str):
    return lambda folder: (folder / "model.safetensors").write_text(text)


def test_a_checkpoint_is_whole_and_its_provenance_known(publication: Publication, tmp_path: Path) -> None:
    folder = publication.publish(_after(4), _weights("weights"))
    artifact = open_artifact(folder)
    assert folder.name == artifact.id[:16]
    assert (artifact.stage, artifact.key) == ("train", "stage1")
    assert artifact.metadata == {"magvit": "b" * 64, "step": 4}
    (record,) = ProvenanceStore(tmp_path / "provenance").records(artifact.id)
    assert record["inputs"]["parent"]["id"] == "a" * 64
    assert record["params"]["steps_done"] == 4
    json.dumps(record)


def test_the_same_bytes_again_are_the_same_checkpoint(publication: Publication) -> None:
    first = publication.publish(_after(4), _weights("weights"))
    assert publication.publish(_after(4), _weights("weights")) == first
    assert publication.publish(_after(6), _weights("weights")) != first, "another step is another checkpoint"
    assert len(list(first.parent.iterdir())) == 2


def test_a_failed_write_publishes_nothing(publication: Publication) -> None:
    def full_disk(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publication.publish(_after(4), full_disk)
    published = [path for path in Path(publication.folder).iterdir() if not path.name.startswith(".")]
    assert published == []
    assert open_artifact(publication.publish(_after(4), _weights("whole")))


def test_provenance_names_the_batches_that_were_skipped(publication: Publication, tmp_path: Path) -> None:
    batch = SkippedBatch(2, "loss nan", ("a", "b"))
    artifact = open_artifact(publication.publish(replace(_after(4), skipped=(batch,)), _weights("weights")))
    (record,) = ProvenanceStore(tmp_path / "provenance").records(artifact.id)
    assert record["events"] == {"skipped_batches": [{"step": 2, "reason": "loss nan", "samples": ["a", "b"]}]}


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Retention(0, 0, 0), [2, 4, 6, 8, 10]),
        (Retention(2, 0, 0), [8, 10]),
        (Retention(1, 4, 0), [4, 8, 10]),
        (Retention(1, 0, 1), [6, 10]),
        (Retention(0, 0, 2), [2, 6]),
    ],
)
def test_newest_regular_and_best_checkpoints_stay(rule: Retention, left: list[int]) -> None:
    losses = {2: 2.0, 4: 3.0, 6: 1.0, 8: 2.5, 10: 9.0}
    published = [Published(step, str(step), loss) for step, loss in losses.items()]
    dropped = [one.step for one in superfluous(published, rule)]
    assert sorted({*losses} - {*dropped}) == left


def test_a_checkpoint_before_any_batch_was_taken_is_none_of_the_best() -> None:
    losses = {2: nan, 4: 2.0, 6: 1.0, 8: nan, 10: 3.0}
    published = [Published(step, str(step), loss) for step, loss in losses.items()]
    assert [one.step for one in superfluous(published, Retention(0, 0, 2))] == [2, 8, 10]


def test_what_nothing_keeps_is_removed_unless_it_is_registered(
    publication: Publication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep_one = replace(publication, retention=Retention(1, 0, 0))
    first, second = (keep_one.publish(_after(step), _weights("weights")) for step in (2, 4))
    assert (first.exists(), second.exists()) == (False, True)
    entry = {"path": str(second), "origin": "published", "id": "c" * 64}
    Path("models.yaml").write_text(json.dumps({"checkpoints": {"second": entry}}))
    third, fourth = (keep_one.publish(_after(step), _weights("weights")) for step in (6, 8))
    assert (second.exists(), third.exists(), fourth.exists()) == (True, False, True)


def test_a_step_that_is_published_again_with_other_bytes_replaces_the_earlier_ones(
    publication: Publication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep_two = replace(publication, retention=Retention(2, 0, 0))
    first, second, again, third = (
        keep_two.publish(_after(step), _weights(text)) for step, text in ((2, "a"), (4, "b"), (4, "c"), (6, "d"))
    )
    assert [one.exists() for one in (first, second, again, third)] == [False, False, True, True]
