"""What a training stage changed: its checkpoint beside its parent's, on the same items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mmada.errors import ContractError
from mmada.evaluation.compare import BOOTSTRAP_SEED, Comparison, compare
from mmada.site.checkpoint_scores import CheckpointScores


@dataclass(frozen=True)
class Change:
    """A checkpoint minus its parent on one benchmark.

    `comparison`: as `compare` gives it (first: the checkpoint, second: its parent), None with the reason in `refused`
    when the two were not measured on the same items. `gained`, `lost`: GRADED_ITEMS of the checkpoint that only it, or
    only its parent, gets right, with the parent's columns under names that end in `_before`.
    """

    checkpoint: str
    parent: str
    comparison: Comparison | None
    refused: str
    same_decoding: bool
    gained: pl.DataFrame
    lost: pl.DataFrame


def changes(scores: Sequence[CheckpointScores], parents: Mapping[str, str], benchmark: str) -> list[Change]:
    """Every checkpoint whose parent was measured on `benchmark`, too. `parents`: checkpoint -> parent."""
    by_name = {one.name: one for one in scores if benchmark in one.benchmarks}
    return [
        _change(child, by_name[parents[name]], benchmark)
        for name, child in by_name.items()
        if parents.get(name) in by_name
    ]


def _change(child: CheckpointScores, parent: CheckpointScores, benchmark: str) -> Change:
    comparison, refused = None, ""
    both = child.items[benchmark].head(0)
    try:
        comparison = compare(child.folder, parent.folder, benchmark, seed=BOOTSTRAP_SEED)
        both = child.items[benchmark]
    except ContractError as error:
        refused = str(error)
    joined = both.sort("item_id").join(parent.items[benchmark], on="item_id", suffix="_before", maintain_order="left")
    decodings = {one.benchmarks[benchmark]["identity"]["decoding"] for one in (child, parent)}
    return Change(
        checkpoint=child.name,
        parent=parent.name,
        comparison=comparison,
        refused=refused,
        same_decoding=len(decodings) == 1,
        gained=joined.filter(pl.col("correct") & ~pl.col("correct_before")),
        lost=joined.filter(~pl.col("correct") & pl.col("correct_before")),
    )
