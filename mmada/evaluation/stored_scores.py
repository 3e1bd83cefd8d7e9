"""The score store as text or JSON for the command line."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mmada.errors import MmadaError
from mmada.evaluation.score_store import Entry, ScoreStore, falls_among


class RegressionError(MmadaError):
    """A checkpoint is significantly worse than its parent."""


def print_scores(store: ScoreStore, *, as_json: bool, check: bool) -> None:
    """Print every evaluation with intervals and the paired change from the parent.

    Raises RegressionError when `check` and a checkpoint fell against its parent.
    """
    entries = store.entries()
    rows = [row for entry in entries for row in _rows(store, entry, entries)]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(rows)) + "\n")
    fallen = sorted({f"{row['name']} on {row['benchmark']}" for row in rows if row["fell"]})
    if check and fallen:
        raise RegressionError(f"{len(fallen)} scores fell against their parents: {', '.join(fallen)}")


def _rows(store: ScoreStore, entry: Entry, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    changes = store.changes(entry, entries)
    fallen = {fall.benchmark for fall in falls_among(changes)}
    rows = []
    for name, body in store.scores(entry)["benchmarks"].items():
        parent, change = changes.get(name, (None, None))
        rows.append(
            {
                "name": entry.name,
                "checkpoint": entry.checkpoint,
                "evaluation": entry.identity,
                "benchmark": name,
                "n": body["n"],
                "correct": body["correct"],
                "low": body["low"],
                "high": body["high"],
                "parent": parent.name if parent else None,
                "change": asdict(change) if change else None,
                "fell": name in fallen,
            }
        )
    return rows


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no checkpoint was evaluated yet: `dvc repro` evaluates, and so does the deployment `reevaluate`"]
    moved_title = "from parent (95 % interval)"
    lines = [f"{'checkpoint':34s} {'benchmark':18s} {'score':>7s}  {'95 % interval':17s} {moved_title:30s} p"]
    for row in sorted(rows, key=lambda row: (row["benchmark"], row["name"])):
        change = row["change"]
        moved = f"{change['difference']:+.1%} ({change['low']:+.1%} to {change['high']:+.1%})" if change else "-"
        p_value = f"{change['p_value']:.2g}" if change else ""
        lines.append(
            f"{row['name']:34s} {row['benchmark']:18s} {row['correct'] / row['n']:7.1%}  "
            f"{row['low']:6.1%} - {row['high']:6.1%}   {moved:30s} {p_value}{'  FELL' if row['fell'] else ''}"
        )
    return lines
