"""The narrow tables that checks look at: numbers for Great Expectations, text for the people who read what failed."""

from collections.abc import Sequence
from typing import Final

import polars as pl
import polars.selectors as cs

from mmada.contracts.facts import FACT_RANGES, STORED_FACTS
from mmada.params_section import PICTURE_TASKS

_FLOATS: Final = tuple(name for name, kind in STORED_FACTS.items() if kind == pl.Float64)
_NAN_ALONE: Final = tuple(name for name in _FLOATS if name not in FACT_RANGES)
"""Nothing else is asked of them: they are not carried along."""
_ALWAYS: Final = ("num_text_tokens", "num_thought_words", "defect", "answer_correct", "loop_share", "language_switches")
FACT_COLUMNS: Final = tuple(
    dict.fromkeys(("row_id", "corpus", "defect", "final_answer", *_ALWAYS, *_FLOATS, *FACT_RANGES))
)
"""The columns of contracts.facts.STORED_FACTS that are read."""
SELECTED_COLUMNS: Final = ("row_id", "corpus", "task", "ordinal")
DROP_COLUMNS: Final = ("row_id", "reason")
"""Those of SELECTED and of the ledger of selection (DROPS)."""


def narrow_tables(
    facts: pl.LazyFrame, selected: pl.LazyFrame, dropped: pl.LazyFrame, tasks: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """The tables of Check.table by name: `row` names what a line is about, numbers are checked, other text is shown.

    facts: FACT_COLUMNS of all corpora (a line per raw row); selected: SELECTED_COLUMNS; dropped: DROP_COLUMNS; `tasks`:
    the tasks whose rows are counted.
    """
    kept = _kept(facts, selected)
    counts = dict(kept.group_by("task").len().iter_rows())
    checkable = kept.filter(pl.col("answer_correct").is_in(["yes", "no"]))
    return {
        "kept": kept,
        "pictures": kept.filter(pl.col("task").is_in(PICTURE_TASKS)).select("row", "psnr"),
        "checkable": checkable.select("row", "final_answer", is_correct=pl.col("answer_correct") == "yes"),
        # A line per annotated row, so that the mean is the share that selection dropped.
        "decided": pl.concat(
            [
                kept.select("row", reason=pl.lit(""), is_dropped=pl.lit(False)),
                dropped.select(row="row_id", reason="reason", is_dropped=pl.lit(True)).collect(),
            ]
        ),
        "rows_per_task": pl.DataFrame({task: [counts.get(task, 0)] for task in tasks}),
    }


def numbers(table: pl.DataFrame) -> pl.DataFrame:
    """What of a table is checked, truth as 0 and 1."""
    return table.select(cs.numeric(), cs.boolean().cast(pl.Int8))


def _kept(facts: pl.LazyFrame, selected: pl.LazyFrame) -> pl.DataFrame:
    """Kept rows with their facts, and how whole their identities and facts are."""
    # Joined by 64-bit hashes, in a third less memory than by ids. (Of a million rows two share one once in 10^7 runs.)
    key = pl.struct("row_id", "corpus").hash()
    known = facts.select(
        pl.all().exclude("row_id", "corpus", *_NAN_ALONE),
        nan_facts=pl.sum_horizontal(pl.col(_FLOATS).is_nan()),
        key=key,
    ).unique("key", keep="any")
    rows = selected.with_columns(key=key).join(known, on="key", how="left", maintain_order="left")
    return rows.select(
        pl.all().exclude("row_id", "ordinal", "key", "nan_facts"),
        row="row_id",
        copies=pl.len().over("key", "ordinal"),
        is_sha256=pl.col("row_id").str.contains("^[0-9a-f]{64}$").fill_null(False),
        missing_facts=pl.sum_horizontal(pl.col(_ALWAYS).is_null()),
        nan_facts=pl.col("nan_facts").fill_null(0),
        has_defect=pl.col("defect") != "",
    ).collect()
