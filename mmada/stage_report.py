"""What a stage says about one run: rows in and out, drops by reason, metrics."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmada.errors import ContractError
from mmada.lineage.manifest import Artifact
from mmada.storage import atomic_write


@dataclass(frozen=True)
class StageReport:
    """Result of a stage. Every row that went in is kept or dropped for a reason; nothing else is possible.

    `inputs`: the artifacts that were read. `raw_files`: path -> sha256 of raw files that were read.
    `rows_in`, `rows_kept`: rows (or pictures, samples, items: the stage's own unit of counting).
    `dropped`: reason -> rows. `metrics`: anything worth plotting. `metadata` goes into the manifest.
    `events`: what happened on the way and shaped the output; provenance and the report tell it.
    """

    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    raw_files: Mapping[str, str] = field(default_factory=dict)
    rows_in: int = 0
    rows_kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    events: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows_in != self.rows_kept + sum(self.dropped.values()):
            raise ContractError(
                f"{self.rows_in} rows in, but {self.rows_kept} kept + {sum(self.dropped.values())} dropped: "
                "a row was lost or counted twice; this is a defect of the stage"
            )

    def rows(self) -> dict[str, object]:
        """Rows in, kept, and dropped by reason; empty for a stage that counts no rows."""
        if not self.rows_in:
            return {}
        return {"in": self.rows_in, "kept": self.rows_kept, "dropped": dict(sorted(self.dropped.items()))}


def write_report(report: StageReport, path: Path, *, seconds: float, output_id: str) -> None:
    """Write the report as JSON (a leaf of the graph: nothing depends on it)."""
    body = {
        "output_id": output_id,
        "inputs": {name: artifact.id for name, artifact in report.inputs.items()},
        "rows_in": report.rows_in,
        "rows_kept": report.rows_kept,
        "dropped": dict(sorted(report.dropped.items())),
        "metrics": {**report.metrics, **report.events},
        "seconds": round(seconds, 1),
    }
    atomic_write(path, (json.dumps(body, indent=1, sort_keys=True) + "\n").encode(), durable=False)
