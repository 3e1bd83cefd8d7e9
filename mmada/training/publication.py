"""Checkpoints that a run gives away while it goes on: whole model folders, traceable, evaluated like any other.

A resume state serves the run itself and is thrown away; a published checkpoint is kept under its id, outside the
output of the stage.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.storage import settle
from mmada.training.checkpoint_folders import checkpoint_folder
from mmada.training.checkpoints import Position
from mmada.training.guard import skipped_batches
from mmada.training.retention import Published, Retention, retain


@dataclass(frozen=True)
class Publication:
    """Where a run publishes, and what its checkpoints descend from.

    `folder`: folder of all published checkpoints. `every`: steps between two of them; 0 publishes none.
    `retention`: which of them stay; `ledger`: the file that says which there are. The other fields are those of the
    stage that trains (mmada.lineage.provenance.Run).
    """

    folder: str
    every: int
    retention: Retention
    ledger: str
    provenance: str
    key: str
    version: int
    inputs: Mapping[str, tuple[str, str]]
    raw_files: Mapping[str, str]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def publish(self, position: Position, write_model: Callable[[Path], None]) -> Path:
        """Write a checkpoint of what stands at `position` with `write_model(folder)`; returns its folder.

        A kill leaves no half checkpoint under a final name, and none without its provenance. Publishing the same bytes
        again changes nothing.
        """
        started = datetime.now(UTC)
        partial = Path(self.folder) / f".{self.key}-{position.step:09d}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_model(partial)
        metadata = {**self.metadata, "step": position.step}
        artifact = write_manifest(partial, stage="train", key=self.key, version=self.version, metadata=metadata)
        target = checkpoint_folder(Path(self.folder), artifact.id)
        self._record(artifact, target, position, started)
        settle(partial, target)
        retain(Published(position.step, target.as_posix(), position.recent_loss), Path(self.ledger), self.retention)
        return target

    def _record(self, artifact: Artifact, target: Path, position: Position, started: datetime) -> None:
        run = Run(
            stage="train",
            key=self.key,
            version=self.version,
            path=target.as_posix(),
            inputs={name: (id_, path) for name, (id_, path) in self.inputs.items()},
            raw_files=self.raw_files,
            params={**self.params, "steps_done": position.step},
            started=started,
            events=skipped_batches(position.skipped),
        )
        ProvenanceStore(Path(self.provenance)).append(artifact, run)
