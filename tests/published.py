"""Checkpoints that tests publish without training."""

from collections.abc import Callable
from pathlib import Path

from mmada.training.checkpoints import Position
from mmada.training.publication import Publication
from mmada.training.retention import Retention


def publish_by_training(
    checkpoints: Path,
    provenance: Path,
    step: int,
    write: Callable[[Path], None],
    *,
    retention: Retention = Retention(0, 0, 0),  # noqa: B008  # frozen
    ledger: Path | None = None,
) -> Path:
    """What a training run of stage1 publishes at `step`; returns its folder."""
    publication = Publication(
        folder=str(checkpoints),
        every=1,
        retention=retention,
        ledger=str(ledger or checkpoints.parent / "published.json"),
        provenance=str(provenance),
        key="stage1",
        version=2,
        inputs={},
        raw_files={},
        params={},
        metadata={},
    )
    return publication.publish(Position(step, 0, "run"), write)
