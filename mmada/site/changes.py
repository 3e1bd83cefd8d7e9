"""What a training stage changed: its checkpoint beside its parent's, on the same items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mmada.errors import ContractError
from mmada.evaluation.compare import Comparison, compare
from mmada.evaluation.measured_scores import by_item
from mmada.site.checkpoint_scores import CheckpointScores


@dataclass(frozen=True)
class Change:
    """A checkpoint minus its parent on one benchmark.

    `comparison`: as `compare` gives it (first: the checkpoint, second: its parent), None with the reason in `refused`
    when the two were not measured on the same items. `gained`, `lost`: ids of the items that it, or its parent, gets
    right (more often, where several answers to each are sampled). `after`, `before`: GRADED_ITEMS of it and its parent.
    """

    checkpoint: str
    parent: str
    comparison: Comparison | None
    refused: str
    same_decoding: bool
    gained: Sequence[str]
    lost: Sequence[str]
    after: pl.DataFrame
    before: pl.DataFrame


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
    after, before = child.items[benchmark], parent.items[benchmark]
    try:
        comparison = compare(child.folder, parent.folder, benchmark)
        moved = _moved(after, before)
    except ContractError as error:
        refused, moved = str(error), {}
    decodings = {one.benchmarks[benchmark]["identity"]["decoding"] for one in (child, parent)}
    return Change(
        checkpoint=child.name,
        parent=parent.name,
        comparison=comparison,
        refused=refused,
        same_decoding=len(decodings) == 1,
        gained=[item for item, by in moved.items() if by > 0],
        lost=[item for item, by in moved.items() if by < 0],
        after=after,
        before=before,
    )


def _moved(after: pl.DataFrame, before: pl.DataFrame) -> dict[str, float]:
    """Item, in order of ids -> share of its answers that are right, after minus before."""
    share = pl.col("correct") / pl.col("answers")
    shares = [by_item(graded).select("item_id", share=share) for graded in (after, before)]
    joined = shares[0].join(shares[1], on="item_id", suffix="_before", maintain_order="left")
    return dict(joined.select("item_id", pl.col("share") - pl.col("share_before")).iter_rows())
