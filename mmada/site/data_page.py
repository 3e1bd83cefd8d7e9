"""What happened to the rows: funnel, examples of every drop reason, lengths, pictures beside reconstructions."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from mmada.curation.personal_data import shown
from mmada.curation.select import REASONS, TWIN_REASONS
from mmada.site import figures
from mmada.site.html import (
    Content,
    Html,
    Section,
    absent,
    bar,
    cards,
    columns,
    element,
    folded,
    identity,
    join,
    more,
    page,
    picture,
    table,
    verdict,
)
from mmada.site.reconstructions import Reconstruction

_EXAMPLES: Final = 5
_EXCERPT: Final = 200
_MEASURED: Final = (
    ("num_text_tokens", "Text tokens per row", "prompt and response, tokens"),
    ("num_thought_words", "Words of thought per row", "words; rows without a thought are left out"),
    ("loop_share", "How much of a text repeats itself", "share in repeated phrases or endless signs; 0 is left out"),
    ("psnr", "How well pictures survive tokenization", "PSNR, dB"),
    ("pixel_std", "How much a picture shows", "standard deviation of its pixels"),
    ("code_entropy", "How much a picture's codes say", "entropy of its codes, bits"),
)
"""Facts that are drawn: column, title, unit."""
_WINDOWS: Final = (512, 1536)
"""Tokens of text and of whole sequences in the published recipe, which drops what is longer without a word."""
KEPT_COLUMNS: Final = ("row_id", "corpus")
FACT_COLUMNS: Final = (*KEPT_COLUMNS, *(column for column, _, _ in _MEASURED))
"""The columns of SELECTED and FACTS that the page needs."""


@dataclass(frozen=True)
class Ledger:
    """What became of every raw row. `unread`, `deselected`: rows that ingest and selection dropped (DROPS).

    `facts`: FACT_COLUMNS of all rows that were read; `kept`: KEPT_COLUMNS of the selected rows, version `selected_id`;
    `twins`: row id -> beginning of the kept rows that `twins_of` names.
    """

    unread: pl.DataFrame
    deselected: pl.DataFrame
    facts: pl.DataFrame
    kept: pl.DataFrame
    selected_id: str
    twins: Mapping[str, str]

    @property
    def dropped(self) -> pl.DataFrame:
        """All dropped rows, with the stage that dropped them."""
        stages = {"ingest": self.unread, "select": self.deselected}
        return pl.concat([rows.with_columns(stage=pl.lit(stage)) for stage, rows in stages.items()])

    @property
    def num_raw(self) -> int:
        """Raw rows: read ones and unreadable ones."""
        return self.facts.height + self.unread.height


def data_page(
    ledger: Ledger | None,
    checks: Sequence[Mapping[str, Any]] | None,
    reconstructions: Sequence[Reconstruction] | None,
    traced: Container[str] = (),
) -> str:
    """The page. None stands for what has not been made yet. `traced`: ids that the lineage page shows."""
    if ledger is None:
        selected = [Section("Rows", absent("No rows have been selected yet.", "dvc repro select"))]
    else:
        selected = [
            Section("Funnel", join([_funnel(ledger), _corpora(ledger)])),
            Section("Why rows were dropped", _reasons(ledger)),
            Section("Lengths", _lengths(ledger)),
            Section("Before and after", columns(_histograms(ledger), "columns pairs")),
        ]
    gallery = absent("No pictures have been tokenized yet.", "dvc repro tokenize_images")
    gate = absent("The gate has not run yet.", "dvc repro validate")
    return page(
        "data",
        "Rows in = rows kept + rows dropped, each with its reason. Pictures are shown as the models see them.",
        [
            *selected,
            Section("Reconstructions", gallery if reconstructions is None else _gallery(reconstructions)),
            Section("The gate", gate if checks is None else _gate(checks)),
        ],
        intro="" if ledger is None else _totals(ledger, traced),
        scripts=figures.SCRIPTS,
    )


def _totals(ledger: Ledger, traced: Container[str]) -> Html:
    return cards(
        [
            ("raw rows", ledger.num_raw),
            ("kept", ledger.kept.height),
            ("dropped, each with its reason", ledger.dropped.height),
            ("version of the selected rows", identity(ledger.selected_id, linked=ledger.selected_id in traced)),
        ]
    )


def _funnel(ledger: Ledger) -> Html:
    steps = [
        ("raw rows", ledger.num_raw, "all corpora"),
        ("readable", ledger.facts.height, f"{ledger.unread.height:,} dropped by ingest"),
        ("selected", ledger.kept.height, f"{ledger.deselected.height:,} dropped by selection"),
    ]
    rows: list[Sequence[Content]] = [[name, bar(count, ledger.num_raw), count, note] for name, count, note in steps]
    return table(["step", "", "rows", ""], rows, "bars")


def _corpora(ledger: Ledger) -> Html:
    """A line per corpus; a corpus of which no row was read is in the ledger alone."""
    dropped = ledger.dropped
    counts = ledger.facts.group_by("corpus", maintain_order=True).len()
    names = pl.concat([counts.select("corpus"), ledger.unread.select("corpus")]).unique(maintain_order=True)
    read = dict(counts.iter_rows())
    rows: list[Sequence[Content]] = []
    for corpus in names.get_column("corpus"):
        raw = read.get(corpus, 0) + ledger.unread.filter(corpus=corpus).height
        kept, lost = ledger.kept.filter(corpus=corpus).height, dropped.filter(corpus=corpus).height
        rows.append([corpus, bar(kept, raw), raw, kept, lost, f"{kept / raw:.1%}" if raw else "-"])
    return table(["corpus", "share kept", "raw rows", "kept", "dropped", ""], rows, "bars")


def _reasons(ledger: Ledger) -> Html:
    """A line per reason, most frequent first, that unfolds to examples."""
    dropped = ledger.dropped
    if dropped.is_empty():
        return element("p", "No row was dropped.")
    counts = dropped.group_by("reason", "stage").len().sort("len", "reason", descending=[True, False])
    largest = counts.get_column("len")[0]
    lines = []
    for reason, stage, count in counts.iter_rows():
        rows = dropped.filter(reason=reason, stage=stage)
        by_corpus = rows.group_by("corpus").len().sort("len", "corpus", descending=[True, False])
        where = ", ".join(f"{corpus} {number:,}" for corpus, number in by_corpus.iter_rows())
        summary = [
            element("b", reason),
            bar(count, largest),
            element("span", count, "count"),
            element("span", f"{stage}: {where}", "soft"),
        ]
        explained = element("p", REASONS.get(reason, ""), "soft") if stage == "select" else Html("")
        shown = join([explained, _examples(rows, ledger.twins if reason in TWIN_REASONS else {})])
        lines.append(folded(element("span", join(summary), "reason"), shown))
    return element("div", join(lines), "panel reasons")


def _examples(rows: pl.DataFrame, twins: Mapping[str, str]) -> Html:
    """The first rows of a reason; beside a duplicate the row that is kept in its place."""
    first = _first(rows)
    lines: list[Sequence[Content]] = [
        [
            element("span", f"{row['corpus']} / {row['source_file']} row {row['row']}", "id"),
            element("span", shown(row["value"])[:_EXCERPT], "id", dir="auto"),
            element("pre", shown(row["excerpt"])[:_EXCERPT], dir="auto"),
            *([element("pre", shown(twins.get(row["value"], ""))[:_EXCERPT], dir="auto")] if twins else []),
        ]
        for row in first.iter_rows(named=True)
    ]
    header = ["raw row", "value that failed", "beginning of the row", *(["kept in its place"] if twins else [])]
    return join([table(header, lines, "examples"), more(first.height, rows.height, "in the ledger (dropped.parquet)")])


def twins_of(deselected: pl.DataFrame) -> list[str]:
    """Ids of the kept rows that stand beside examples of duplicates."""
    duplicates = [_first(deselected.filter(reason=reason)) for reason in TWIN_REASONS]
    return pl.concat(duplicates).get_column("value").unique().to_list()


def _first(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("corpus", "source_file", "row").head(_EXAMPLES)


def _lengths(ledger: Ledger) -> Html:
    """A line per corpus: how long its rows are, how many exceed the published windows, how many the limit drops."""
    tokens = pl.col("num_text_tokens")
    sizes = {"median tokens": tokens.median(), "95 %": tokens.quantile(0.95), "longest": tokens.max()}
    longer = {f"over {window:,}": (tokens > window).sum() for window in _WINDOWS}
    known = ledger.facts.group_by("corpus", maintain_order=True).agg(**sizes, **longer)
    of_rows = ledger.facts.unique("row_id", keep="any").select("row_id", tokens)
    kept = dict(ledger.kept.join(of_rows, on="row_id").group_by("corpus").agg(tokens.sum()).iter_rows())
    lost = dict(ledger.deselected.filter(reason="row_too_long").group_by("corpus").len().iter_rows())
    rows: list[Sequence[Content]] = [
        [
            line["corpus"],
            *(round(line[name]) for name in (*sizes, *longer)),
            lost.get(line["corpus"], 0),
            kept.get(line["corpus"], 0),
        ]
        for line in known.iter_rows(named=True)
    ]
    return table(["corpus", *sizes, *longer, "row_too_long", "tokens kept"], rows)


def _histograms(ledger: Ledger) -> list[Html]:
    """Whole bars are the rows before selection; without their last part, the kept ones of each corpus."""
    measured = ledger.facts.unique("row_id", keep="any")  # exact duplicates share their row id
    known = measured.join(ledger.kept.select("row_id", kept="corpus"), on="row_id", how="left", maintain_order="left")
    drawn = []
    for column, title, unit in _MEASURED:
        present = known.filter(pl.col(column) > 0)
        parts = {part: rows.get_column(column) for (part,), rows in present.partition_by("kept", as_dict=True).items()}
        series = {f"{corpus}, kept": parts[corpus].to_numpy() for corpus in sorted(parts.keys() - {None})}
        if None in parts:
            series["dropped by selection"] = parts[None].to_numpy()
        if series:
            drawn.append(figures.stacked_histogram(title, series, unit))
    return drawn


def _gallery(reconstructions: Sequence[Reconstruction]) -> Html:
    if not reconstructions:
        return element("p", "The corpora hold no pictures.")
    lead = "Left as it came, right as its codes give it back; from the worst of all pictures to the best, by rank."
    shots = [_shot(shot) for shot in reconstructions]
    return join([element("p", lead, "soft"), element("div", join(shots), "gallery")])


def _shot(shot: Reconstruction) -> Html:
    pair = element("div", join([picture(shot.original, "original"), picture(shot.decoded, "reconstruction")]), "pair")
    label = f"{shot.psnr:.1f} dB"
    return element("div", join([pair, element("b", label), identity(shot.image_sha256, linked=False)]), "shot")


def _gate(checks: Sequence[Mapping[str, Any]]) -> Html:
    rows: list[Sequence[Content]] = [
        [
            check["name"],
            _observed(check),
            _limit(check["arguments"]),
            element("span", check["limit_at"], "id"),
            _passed(check),
        ]
        for check in checks
    ]
    return table(["check", "observed", "limit", "set by", ""], rows)


def _passed(check: Mapping[str, Any]) -> Html:
    """A word; of an override also whose it is, why, and the first rows that fail."""
    override = check["override"]
    if not override:
        return verdict(check["success"], "passes", "fails")
    said = element("span", f"fails, let pass by {override['who']}: {override['why']}", "bad")
    rows = [element("pre", "  ".join(line), dir="auto") for line in check["examples"]]
    return folded(said, join([*rows, more(len(rows), check["failing"], "rows")])) if rows else said


def _limit(arguments: Mapping[str, Any]) -> str:
    words = {"min_value": "at least", "max_value": "at most"}
    return ", ".join(f"{words[name]} {value:,}" for name, value in arguments.items() if name in words) or "every row"


def _observed(check: Mapping[str, Any]) -> Content:
    """A measured value, or (of checks on every row) how many rows failed."""
    observed = check["observed"]
    return f"{check['failing']:,} rows fail" if observed is None else f"{observed:,.6g}"
