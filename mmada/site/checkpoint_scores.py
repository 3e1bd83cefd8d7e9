"""Read what `evaluate` wrote of checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mmada.contracts.tables import read_table
from mmada.evaluation.compare import SCORES_FILE, scores_of
from mmada.evaluation.measured_scores import GRADED_ITEMS


@dataclass(frozen=True)
class CheckpointScores:
    """One evaluated checkpoint. `body`: scores.json; `items`: benchmark -> GRADED_ITEMS."""

    name: str
    folder: Path
    body: Mapping[str, Any]
    items: Mapping[str, pl.DataFrame]

    @property
    def benchmarks(self) -> Mapping[str, Any]:
        """Benchmark -> its measured score (mmada.evaluation.measured_scores.MeasuredScore.to_json)."""
        benchmarks: Mapping[str, Any] = self.body["benchmarks"]
        return benchmarks


def read_scores(folder: Path, names: Sequence[str]) -> list[CheckpointScores]:
    """Scores below `folder`, in the order of `names`; checkpoints without scores are left out."""
    found = []
    for name in names:
        path = folder / name / SCORES_FILE
        if path.is_file():
            body = scores_of(path.parent)
            items = {
                benchmark: read_table(path.with_name(f"items-{benchmark}.parquet"), GRADED_ITEMS, f"items of {name}")
                for benchmark in body["benchmarks"]
            }
            found.append(CheckpointScores(name, path.parent, body, items))
    return found


def benchmark_names(scores: Sequence[CheckpointScores]) -> list[str]:
    """Every benchmark that any checkpoint was measured on, in order of name."""
    return sorted({benchmark for checkpoint in scores for benchmark in checkpoint.benchmarks})


def share_text(part: Mapping[str, float]) -> str:
    """`54.2 % (47.8-60.4)`: a share with its 95 % interval."""
    return f"{100 * part['share']:.1f} % ({100 * part['low']:.1f}-{100 * part['high']:.1f})"
