"""Why a row is in the training data, or why not: its way through curation, and everything that was made of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.contracts.facts import BENCHMARK_MATCHES, NEAR_DUPLICATES, QUESTION_FACTS, STORED_FACTS, with_questions
from mmada.contracts.records import DROPS
from mmada.curation.select import REASONS, TWIN_REASONS, contaminated_by, thresholds
from mmada.errors import InputError
from mmada.lineage.impact import Affected, impact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_data import Selection
from mmada.params_schema import Params
from mmada.show.known_rows import Row, find_rows
from mmada.show.printing import plain, row_json, row_lines
from mmada.show.scanning import FILE, rows_of

_OF_ALL_ROWS: Final = frozenset(
    {"near_duplicate", "semantic_duplicate", "image_near_duplicate", "max_rows_per_question", "leave_out"}
)
"""Entries of params.selection that judge no row alone."""


@dataclass(frozen=True)
class Verdict:
    """One reason to drop a row: whether this row passes, and what of it was judged (None where that says nothing)."""

    reason: str
    passes: bool
    value: str | None
    is_left_out: bool


@dataclass(frozen=True)
class Story:
    """A row with what decided over it.

    `verdicts`: by every reason that looks at one row, as params.yaml has it now; `matches`: benchmark items in it
    (BENCHMARK_MATCHES); `alike`: similarity to texts that are alike, highest first; `twins`: the raw rows that were
    dropped as its duplicates, and by which reason; `reached`: shards, models and scores that hold it.
    """

    row: Row
    verdicts: Sequence[Verdict]
    matches: Sequence[Mapping[str, Any]]
    alike: Sequence[float]
    twins: Sequence[Mapping[str, Any]]
    reached: Sequence[Affected]


def tell(asked: str, params: Params) -> Story:
    """The story of the row that is asked for (see asked.parse_row). Raises InputError for what is unknown."""
    (row,) = find_rows([asked], params)
    facts_folder = Path(params.paths.facts)
    matches = _of_row(facts_folder / "matches.parquet", BENCHMARK_MATCHES, pl.col("row_id") == row.row_id)
    facts = _facts(row)
    is_duplicate = pl.col("reason").is_in(TWIN_REASONS) & (pl.col("value") == row.row_id)
    ledger = Path(params.paths.selected) / "dropped.parquet"
    twins = _of_row(ledger, DROPS, is_duplicate & (pl.col("row_id") != ""))
    return Story(
        row,
        _verdicts(_with_question(facts, facts_folder), matches, params.selection) if row.row_id else [],
        matches.drop("row_id").rows(named=True),
        _similarities(facts, facts_folder / "pairs.parquet"),
        twins.select("row_id", "corpus", "source_file", "row", "reason").rows(named=True),
        _reached(row.row_id, ProvenanceStore(Path(params.paths.provenance))),
    )


def _of_row(file: Path, schema: Mapping[str, Any], wanted: pl.Expr) -> pl.DataFrame:
    return rows_of([file], schema, wanted).drop(FILE)


def _facts(row: Row) -> pl.DataFrame:
    """The facts that selection judges, put together from what is known of the row; no line before annotation."""
    known = {"row_id": row.row_id, **row.record, **(row.picture.facts if row.picture else {}), **row.facts}
    schema = {name: kind for name, kind in STORED_FACTS.items() if name in known}
    return pl.DataFrame([known] if row.facts else [], schema=pl.Schema(schema))


def _with_question(facts: pl.DataFrame, folder: Path) -> pl.DataFrame:
    if facts.is_empty():
        return facts
    asked = pl.col("question_key") == facts["question_key"][0]
    return with_questions(facts, _of_row(folder / "questions.parquet", QUESTION_FACTS, asked))


def _verdicts(facts: pl.DataFrame, matches: pl.DataFrame, selection: Selection) -> list[Verdict]:
    if facts.is_empty():
        return []
    checks = thresholds(**selection.model_dump(exclude=set(_OF_ALL_ROWS)))
    row = facts.with_columns(contaminated_by(matches))
    failed = row.select(**{name: fails.fill_null(False) for name, (fails, _) in checks.items()}).row(0, named=True)
    values = row.select(**{name: value.cast(pl.String) for name, (_, value) in checks.items()}).row(0, named=True)
    return [Verdict(name, not failed[name], values[name], name in selection.leave_out) for name in checks]


def _similarities(facts: pl.DataFrame, pairs: Path) -> list[float]:
    if facts.is_empty():
        return []
    key = facts["text_key"][0]
    found = _of_row(pairs, NEAR_DUPLICATES, (pl.col("text_key") == key) | (pl.col("twin") == key))
    return list(found["similarity"].sort(descending=True))


def _reached(row_id: str, store: ProvenanceStore) -> list[Affected]:
    try:
        affected = impact(row_id, store).affected if row_id else ()
    except InputError:  # no set of shards holds it
        return []
    return [output for output in affected if output.relation == "contains"]


def story_json(story: Story) -> dict[str, Any]:
    """All of a story."""
    return {**asdict(story), "row": row_json(story.row)}


def story_lines(story: Story, selection: Selection) -> Iterator[str]:
    """A story as text. `selection`: the limits that are shown beside the row's values."""
    yield from row_lines(story.row)
    yield from _titled("thresholds of selection", [_verdict(verdict, selection) for verdict in story.verdicts])
    yield from _titled("benchmark items in it", [_match(match) for match in story.matches])
    if story.alike:
        told = f"{len(story.alike)}, similarity at most {story.alike[0]:.3f}  near_duplicate {selection.near_duplicate}"
        yield from _titled("texts that are alike", [told])
    yield from _titled("dropped as its duplicates", [_twin(twin) for twin in story.twins])
    yield from _titled("what holds it", [f"{one.address}  {one.id[:12]}  {one.path}" for one in story.reached])


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {plain(line)}" for line in lines)


def _verdict(verdict: Verdict, selection: Selection) -> str:
    sign = "passes" if verdict.passes else "left out" if verdict.is_left_out else "FAILS"
    named = re.search(r"\((\w+)\)\.$", REASONS[verdict.reason])  # the sentence ends with the threshold's name
    limit = f"  {named[1]} {getattr(selection, named[1])}" if named else ""
    explained = "" if verdict.passes else f"  {REASONS[verdict.reason]}"
    return f"{sign:8s} {verdict.reason:26s} {verdict.value or '-'}{limit}{explained}"


def _match(match: Mapping[str, Any]) -> str:
    return f"{match['benchmark']}  {match['item_id']}  {match['how']}, containment {match['containment']:.3f}"


def _twin(twin: Mapping[str, Any]) -> str:
    return f"{twin['row_id']}  {twin['corpus']}/{twin['source_file']}:{twin['row']}  {twin['reason']}"
