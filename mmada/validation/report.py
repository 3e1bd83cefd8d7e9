"""The gate's report for people: one page that needs nothing from the net, and all rows that fail, check by check.

It stands for the data docs of Great Expectations, which load their styles and scripts from the web.
"""

import html
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mmada.storage import atomic_write
from mmada.validation.gates import EXAMPLES, Outcome, expected, file_name

OUTCOMES_FILE: Final = "outcomes.json"
_STYLE: Final = (
    "body{font:14px sans-serif;margin:2em}td,th{padding:.3em .8em;text-align:left;vertical-align:top}"
    ".ok td{background:#eaf6ea}.failed td{background:#fbe3e3}.override td{background:#fdf3d8}pre{margin:0}"
)
_HEADER: Final = ("passed", "check", "observed", "rows", "expected", "expectation", "limit", "rows that fail")


def write_report(outcomes: Sequence[Outcome], folder: Path, selected: str) -> None:
    """Write `index.html`, `outcomes.json` and, per failed check, the list of rows that fail, in place of earlier ones.

    `selected`: id of the rows that were checked.
    """
    shutil.rmtree(folder, ignore_errors=True)
    title = f"Gate: what is expected of the selected rows {selected[:12]}"
    atomic_write(folder / "index.html", _page(outcomes, title).encode())
    body = {"selected": selected, "checks": [outcome.to_json() for outcome in outcomes]}
    atomic_write(folder / OUTCOMES_FILE, (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())
    for outcome in outcomes:
        if not outcome.failing.is_empty():
            outcome.failing.write_csv(folder / file_name(outcome.check), include_header=False, separator="\t")


def _page(outcomes: Sequence[Outcome], title: str) -> str:
    rows = "".join(
        f"<tr class={_css(outcome)}>" + "".join(f"<td>{cell}</td>" for cell in _cells(outcome)) + "</tr>"
        for outcome in outcomes
    )
    head = "".join(f"<th>{name}</th>" for name in _HEADER)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><table><tr>{head}</tr>{rows}</table></html>\n"
    )


def _css(outcome: Outcome) -> str:
    return "ok" if outcome.success else "override" if outcome.passes else "failed"


def _cells(outcome: Outcome) -> list[str]:
    check, override = outcome.check, outcome.override
    passed = "yes" if outcome.success else f"by override of {override.who}: {override.why}" if override else "no"
    observed = f"{outcome.failing.height:,} fail" if outcome.observed is None else f"{outcome.observed:g}"
    texts = (passed, check.name, observed, f"{outcome.rows:,}", expected(check), check.kind, check.limit_at)
    return [*(html.escape(text) for text in texts), _failing(outcome)]


def _failing(outcome: Outcome) -> str:
    if outcome.failing.is_empty():
        return ""
    shown = "\n".join(f"{row}  {value}" for row, value in outcome.failing.head(EXAMPLES).iter_rows())
    rest = f"<a href='{file_name(outcome.check)}'>all {outcome.failing.height:,}</a>"
    return f"<pre>{html.escape(shown)}</pre>{rest}"
