"""What models said and drew: the same items side by side for all checkpoints, and items that changed sides."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from mmada.site.changes import Change
from mmada.site.checkpoint_scores import CheckpointScores
from mmada.site.html import Content, Html, cut, element, folded, join, more, picture, table, verdict

_FLIPS: Final = 8
_ITEMS: Final = 8
_LONGEST: Final = 1200
"""Characters of a text that a page shows."""


def side_by_side(benchmark: str, scores: Sequence[CheckpointScores]) -> Html:
    """A line per item, evenly spread over the last checkpoint's items by category; a column per checkpoint."""
    measured = [one for one in scores if benchmark in one.items]
    items = measured[-1].items[benchmark].sort("category", "item_id")
    chosen = items.gather_every(max(1, items.height // _ITEMS)).head(_ITEMS)
    answers = [{row["item_id"]: row for row in one.items[benchmark].iter_rows(named=True)} for one in measured]
    rows: list[Sequence[Content]] = [
        [_question(row), *(_answer(known.get(row["item_id"])) for known in answers)]
        for row in chosen.iter_rows(named=True)
    ]
    header = ["item", *(one.name for one in measured)]
    return join([table(header, rows, "answers"), more(chosen.height, items.height, "items (items-*.parquet)")])


def flips(change: Change) -> list[Html]:
    """The items that changed sides, both ways, folded."""
    directions = (
        (change.gained, verdict(True, f"wrong in {change.parent}, right in {change.checkpoint}")),
        (change.lost, verdict(False, no=f"right in {change.parent}, wrong in {change.checkpoint}")),
    )
    return [
        folded(join([element("b", items.height), title]), _flipped(change, items))
        for items, title in directions
        if items.height
    ]


def _flipped(change: Change, items: pl.DataFrame) -> Html:
    shown = items.head(_FLIPS)
    rows: list[Sequence[Content]] = [
        [_question(row), _answer(_before(row)), _answer(row)] for row in shown.iter_rows(named=True)
    ]
    header = ["item", f"{change.parent} (before)", f"{change.checkpoint} (after)"]
    return join([table(header, rows, "answers"), more(shown.height, items.height, "such items")])


def _before(row: Mapping[str, object]) -> dict[str, object]:
    return {name.removesuffix("_before"): value for name, value in row.items() if name.endswith("_before")}


def _question(row: Mapping[str, object]) -> Html:
    """Prompt, category and gold answer."""
    parts: list[Content] = [element("div", cut(row["prompt"], _LONGEST), "prompt", dir="auto")]
    gold = f"gold answer: {cut(row['reference'], _LONGEST)}" if row["reference"] else ""
    parts.append(element("div", ", ".join(filter(None, [str(row["category"]), gold])), "soft", dir="auto"))
    return join(parts)


def _answer(row: Mapping[str, object] | None) -> Html:
    """A picture with its thought, or a text; then whether it is right."""
    if row is None:
        return element("span", "not asked", "soft")
    parts: list[Content] = []
    if row["picture"]:
        assert isinstance(row["picture"], bytes)
        parts.append(picture(row["picture"], str(row["prompt"])))
    if row["prediction"]:
        parts.append(element("pre", cut(row["prediction"], _LONGEST), dir="auto"))
    if not parts:
        parts.append(element("pre", "(nothing)", "soft"))
    return join([*parts, verdict(bool(row["correct"]))])
