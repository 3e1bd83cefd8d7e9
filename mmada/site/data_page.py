"""What happened to the rows: funnel, examples of every drop reason, lengths, pictures beside reconstructions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mmada.site import figures
from mmada.site.html import Content, Html, cards, element, join, page, picture, section, table

_EXAMPLES = 4


@dataclass(frozen=True)
class Reconstruction:
    """A picture as it came and as the tokenizer gives it back (PNG bytes)."""

    image_sha256: str
    original: bytes
    decoded: bytes
    psnr: float


def data_page(
    *,
    rows_in: Mapping[str, int],
    ledger: pl.DataFrame,
    facts: pl.DataFrame,
    kept: pl.DataFrame,
    checks: Sequence[Mapping[str, object]],
    reconstructions: Sequence[Reconstruction],
) -> str:
    """The page. `rows_in`: corpus -> raw rows; `ledger`: all dropped rows (DROPS); `kept`: SELECTED."""
    total = sum(rows_in.values())
    body: list[Content] = [
        cards([("raw rows", total), ("kept", kept.height), ("dropped, each with its reason", ledger.height)]),
        section("Rows by corpus", _corpora(rows_in, ledger, kept)),
        section("Why rows were dropped", join([_reasons(ledger), *_examples(ledger)])),
        section("Lengths of kept rows", _lengths(facts, kept)),
        section("Pictures beside their reconstructions", _gallery(reconstructions)),
        section("The gate", _gate(checks)),
    ]
    lead = "Rows in = rows kept + rows dropped, by reason. Pictures are shown as the models see them."
    return page("data", lead, body, plots=True)


def _corpora(rows_in: Mapping[str, int], ledger: pl.DataFrame, kept: pl.DataFrame) -> Html:
    return table(
        ["corpus", "raw rows", "kept", "dropped"],
        [
            [corpus, count, kept.filter(corpus=corpus).height, ledger.filter(corpus=corpus).height]
            for corpus, count in rows_in.items()
        ],
    )


def _reasons(ledger: pl.DataFrame) -> Html:
    counts = ledger.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return figures.bars("Dropped rows by reason", dict(counts.iter_rows()), "rows")


def _examples(ledger: pl.DataFrame) -> list[Html]:
    parts = []
    for (reason,), rows in ledger.sort("reason", "corpus", "source_file", "row").group_by(
        "reason", maintain_order=True
    ):
        shown = table(
            ["corpus", "file and row", "value that failed", "beginning of the row"],
            [
                [row["corpus"], f"{row['source_file']}:{row['row']}", row["value"][:80], row["excerpt"]]
                for row in rows.head(_EXAMPLES).iter_rows(named=True)
            ],
        )
        summary = element("summary", f"{reason}: {rows.height} rows")
        parts.append(element("details", join([summary, shown])))
    return parts


def _lengths(facts: pl.DataFrame, kept: pl.DataFrame) -> Html:
    lengths = facts.filter(pl.col("row_id").is_in(kept["row_id"].implode()))
    series = {
        str(corpus): rows["num_text_tokens"].to_list()
        for (corpus,), rows in lengths.group_by("corpus", maintain_order=True)
    }
    return figures.histograms("Text tokens per row", series, "tokens")


def _gallery(reconstructions: Sequence[Reconstruction]) -> Html:
    shots = [
        element(
            "div",
            join(
                [
                    element(
                        "div",
                        join([picture(shot.original, "original"), picture(shot.decoded, "reconstruction")]),
                        "pair",
                    ),
                    element("div", f"{shot.psnr:.1f} dB"),
                    element("div", shot.image_sha256[:16], "id"),
                ]
            ),
            "shot",
        )
        for shot in reconstructions
    ]
    return element("div", join(shots), "gallery")


def _gate(checks: Sequence[Mapping[str, object]]) -> Html:
    return table(
        ["check", "observed", "limit", ""],
        [
            [
                str(check["name"]),
                str(check["observed"]),
                str(check["arguments"]),
                element("span", "passes", "good") if check["success"] else element("span", "fails", "bad"),
            ]
            for check in checks
        ],
    )
