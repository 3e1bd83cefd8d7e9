"""Every evaluation in the score store: checkpoints published on the way, and those that came from elsewhere."""

from collections.abc import Iterator, Sequence

from mmada.evaluation.score_store import Entry, ScoreStore, falls_among
from mmada.site.checkpoint_scores import share_text
from mmada.site.html import Content, Html, element, table


def published_scores(store: ScoreStore, benchmark: str) -> Iterator[Html]:
    """A table of what the store holds on `benchmark`; nothing when it holds nothing."""
    known = store.entries()
    entries = [entry for entry in known if benchmark in store.scores(entry)["benchmarks"]]
    if entries:
        yield element("h3", "Every evaluation, also of published and registered checkpoints")
        header = ["checkpoint", "id", "share (95 %)", "change from the parent (95 %, paired)", "p (McNemar)", "alarm"]
        yield table(header, [_row(store, entry, known, benchmark) for entry in sorted(entries, key=_order)], "scores")


def _order(entry: Entry) -> tuple[str, int]:
    return entry.name.partition(" ")[0], entry.step if entry.step is not None else 1 << 62


def _row(store: ScoreStore, entry: Entry, known: Sequence[Entry], benchmark: str) -> Sequence[Content]:
    share = share_text(store.scores(entry)["benchmarks"][benchmark])
    row: list[Content] = [element("b", entry.name), element("span", entry.checkpoint[:12], "id"), share]
    if benchmark not in (changes := store.changes(entry, known)):
        return [*row, "parent not evaluated alike" if entry.parent else "no parent", "-", "-"]
    _, change = changes[benchmark]
    points = [100 * value for value in (change.difference, change.low, change.high)]
    fell = any(fall.benchmark == benchmark for fall in falls_among(changes))
    moved = f"{points[0]:+.1f} points ({points[1]:+.1f} to {points[2]:+.1f})"
    return [*row, moved, f"{change.p_value:.2g}", element("span", "fell", "bad") if fell else "-"]
