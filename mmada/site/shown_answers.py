"""What models said and drew: the same items side by side for all checkpoints, and items that changed sides."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from mmada.evaluation.measured_scores import ITEM
from mmada.site.changes import Change
from mmada.site.checkpoint_scores import CheckpointScores
from mmada.site.html import Content, Html, cut, element, folded, join, more, picture, table, verdict

_FLIPS: Final = 8
_ITEMS: Final = 8
_LONGEST: Final = 1200
"""Characters of a text that a page shows."""


def side_by_side(benchmark: str, scores: Sequence[CheckpointScores]) -> Html:
    """A line per item, evenly spread over the last checkpoint's items by category; a column per checkpoint."""
    measured = {one.name: one.items[benchmark] for one in scores if benchmark in one.items}
    last = list(measured.values())[-1]
    items = last.filter(pl.col("item_id") == ITEM).sort("category", "item_id").get_column("item_id")
    chosen = items.gather_every(max(1, len(items) // _ITEMS)).head(_ITEMS)
    rows: list[Sequence[Content]] = [
        [_question(last, item), *(_answers(graded, item) for graded in measured.values())] for item in chosen
    ]
    shown = table(["item", *measured], rows, "answers")
    return join([shown, more(len(chosen), len(items), "items (items-*.parquet)")])


def flips(change: Change) -> list[Html]:
    """The items that changed sides, both ways, folded."""
    directions = (
        (change.gained, verdict(True, f"right in {change.checkpoint}, wrong or less often right in {change.parent}")),
        (change.lost, verdict(False, no=f"right in {change.parent}, wrong or less often right in {change.checkpoint}")),
    )
    return [
        folded(join([element("b", len(items)), title]), _flipped(change, items)) for items, title in directions if items
    ]


def _flipped(change: Change, items: Sequence[str]) -> Html:
    shown = items[:_FLIPS]
    rows: list[Sequence[Content]] = [
        [_question(change.after, item), _answers(change.before, item), _answers(change.after, item)] for item in shown
    ]
    header = ["item", f"{change.parent} (before)", f"{change.checkpoint} (after)"]
    return join([table(header, rows, "answers"), more(len(shown), len(items), "such items")])


def _question(graded: pl.DataFrame, item: str) -> Html:
    """Prompt, category and gold answer."""
    row = graded.row(by_predicate=pl.col("item_id") == item, named=True)
    parts: list[Content] = [element("div", cut(row["prompt"], _LONGEST), "prompt", dir="auto")]
    gold = f"gold answer: {cut(row['reference'], _LONGEST)}" if row["reference"] else ""
    parts.append(element("div", ", ".join(filter(None, [str(row["category"]), gold])), "soft", dir="auto"))
    return join(parts)


def _answers(graded: pl.DataFrame, item: str) -> Html:
    """All answers to an item, one below the other."""
    answers = graded.filter(item == ITEM)
    if answers.is_empty():
        return element("span", "not asked", "soft")
    return join(element("div", _answer(row)) for row in answers.iter_rows(named=True))


def _answer(row: Mapping[str, object]) -> Html:
    """A picture with its thought, or a text; then whether it is right."""
    parts: list[Content] = []
    if row["picture"]:
        assert isinstance(row["picture"], bytes)
        parts.append(picture(row["picture"], str(row["prompt"])))
    if row["prediction"]:
        parts.append(element("pre", cut(row["prediction"], _LONGEST), dir="auto"))
    if not parts:
        parts.append(element("pre", "(nothing)", "soft"))
    return join([*parts, verdict(bool(row["correct"]))])
