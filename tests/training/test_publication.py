"""Published checkpoints: whole, traceable, under their id."""

import json
from pathlib import Path

import pytest

from mmada.lineage.manifest import open_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.training.checkpoints import Position
from mmada.training.publication import Publication


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    return Publication(
        folder=str(tmp_path / "checkpoints"),
        every=2,
        provenance=str(tmp_path / "provenance"),
        key="stage1",
        version=3,
        inputs={"parent": ("a" * 64, "data/models/init")},
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
