"""Scores of all checkpoints side by side, with intervals, baselines, and what the models said and drew."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.contracts.tables import read_table
from mmada.evaluation.measured_scores import GRADED_ITEMS
from mmada.site import figures
from mmada.site.html import Content, Html, element, join, page, picture, section, table

_SHOWN_TEXTS: Final = 6
_SHOWN_PICTURES: Final = 12


@dataclass(frozen=True)
class CheckpointScores:
    """What `evaluate` wrote of one checkpoint. `body`: scores.json; `items`: benchmark -> GRADED_ITEMS."""

    name: str
    body: Mapping[str, Any]
    items: Mapping[str, pl.DataFrame]

    @property
    def benchmarks(self) -> Mapping[str, Any]:
        benchmarks: Mapping[str, Any] = self.body["benchmarks"]
        return benchmarks


def read_scores(folder: Path, names: Sequence[str]) -> list[CheckpointScores]:
    """Scores below `folder`, in the order of `names`; checkpoints without scores are left out."""
    found = []
    for name in names:
        path = folder / name / "scores.json"
        if path.is_file():
            body = json.loads(path.read_text(encoding="utf-8"))
            items = {
                benchmark: read_table(path.with_name(f"items-{benchmark}.parquet"), GRADED_ITEMS, f"items of {name}")
                for benchmark in body["benchmarks"]
            }
            found.append(CheckpointScores(name, body, items))
    return found


def scores_page(scores: Sequence[CheckpointScores]) -> str:
    """The page; a section per benchmark."""
    benchmarks = sorted({benchmark for checkpoint in scores for benchmark in checkpoint.benchmarks})
    body: list[Content] = [section(name, join(_benchmark(name, scores))) for name in benchmarks]
    lead = (
        "95 % intervals (Wilson). Beside each score: the best constant answer per kind of question, chosen with the "
        "answers known, and the same model with pictures or prompts permuted among items. A score means something "
        "where it is above both."
    )
    return page("scores", lead, body or [element("p", "Nothing has been evaluated yet.")], plots=True)


def _benchmark(name: str, scores: Sequence[CheckpointScores]) -> Iterator[Content]:
    measured = {c.name: c.benchmarks[name] for c in scores if name in c.benchmarks}
    series = {
        "score": {checkpoint: _interval(score) for checkpoint, score in measured.items()},
        "best constant": {checkpoint: _interval(score["constant"]) for checkpoint, score in measured.items()},
        "permuted": {checkpoint: _interval(score["permuted"]) for checkpoint, score in measured.items()},
    }
    yield figures.intervals(f"{name}: share of correct items", series, "share correct")
    yield table(
        ["checkpoint", "category", "items", "correct", "share", "95 % interval", "best constant", "permuted"],
        list(_rows(measured)),
    )
    ceilings = [c.body["ceiling"] for c in scores if c.body.get("ceiling")]
    if ceilings and next(iter(measured.values()))["kind"] == "pictures":
        yield element("p", f"Ceiling: the picture tokenizer itself keeps {_percent(ceilings[-1])} of held-out objects.")
    latest = next((c for c in reversed(scores) if name in c.items), None)
    if latest is not None:
        yield _examples(latest, latest.items[name])


def _rows(measured: Mapping[str, Any]) -> Iterator[Sequence[Content]]:
    for checkpoint, score in measured.items():
        for category, part in {"all": score, **score["categories"]}.items():
            label = element("strong", checkpoint) if category == "all" else ""
            yield [
                label,
                category,
                part["n"],
                part["correct"],
                f"{part['share']:.1%}",
                f"{part['low']:.1%} to {part['high']:.1%}",
                f"{part['constant']['share']:.1%}",
                f"{part['permuted']['share']:.1%}",
            ]


def _interval(part: Mapping[str, float]) -> tuple[float, float, float]:
    return part["share"], part["low"], part["high"]


def _percent(part: Mapping[str, float]) -> str:
    return f"{part['share']:.1%} ({part['low']:.1%} to {part['high']:.1%})"


def _examples(checkpoint: CheckpointScores, items: pl.DataFrame) -> Html:
    drawn = items.filter(pl.col("picture").bin.size() > 0)
    if drawn.is_empty():
        rows = [
            [row["prompt"], element("pre", row["prediction"]), row["reference"], _mark(row["correct"])]
            for row in items.head(_SHOWN_TEXTS).iter_rows(named=True)
        ]
        return join(
            [
                element("h3", f"What {checkpoint.name} says"),
                table(["prompt", "response", "gold answer", ""], rows),
            ]
        )
    shots = [
        element(
            "div",
            join(
                [
                    picture(row["picture"], row["prompt"]),
                    element("div", row["prompt"]),
                    element("div", join([row["category"], " ", _mark(row["correct"])])),
                    element("pre", row["prediction"]) if row["prediction"] else "",
                ]
            ),
            "shot wide",
        )
        for row in drawn.gather_every(max(1, drawn.height // _SHOWN_PICTURES))
        .head(_SHOWN_PICTURES)
        .iter_rows(named=True)
    ]
    return join([element("h3", f"What {checkpoint.name} draws"), element("div", join(shots), "gallery")])


def _mark(correct: bool) -> Html:
    return element("span", "right", "good") if correct else element("span", "wrong", "bad")
