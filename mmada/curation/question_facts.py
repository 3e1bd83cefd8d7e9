"""What the rows of one question say of it together: how hard it is, and whether its references agree."""

import polars as pl

from mmada.answers import answers_match
from mmada.contracts.facts import QUESTION_FACTS
from mmada.intervals import covering


def question_facts(rows: pl.DataFrame, *, seconds: float) -> pl.DataFrame:
    """QUESTION_FACTS of rows (question_key, content_key, reference, answer_correct).

    Rows of equal content are one trial; rows without a gold answer, or without a response, are none. `seconds`: wall
    clock of one comparison of two references.
    """
    has_gold = (pl.col("answer_correct") != "unchecked") & (pl.col("reference").str.strip_chars() != "")
    questions = (
        rows.filter(has_gold)
        .unique("content_key", keep="first")
        .group_by("question_key")
        .agg(
            num_trials=(pl.col("answer_correct") != "missing").sum().cast(pl.Int64),
            correct=(pl.col("answer_correct") == "yes").sum().cast(pl.Int64),
            references=pl.col("reference").str.strip_chars().unique().sort(),
        )
        .sort("question_key")
    )
    intervals = [covering(correct, trials) for correct, trials in questions.select("correct", "num_trials").iter_rows()]
    others = [
        _contradiction(references.to_list(), seconds) if len(references) > 1 else ""
        for references in questions["references"]
    ]
    return questions.with_columns(
        pass_rate=pl.when(pl.col("num_trials") > 0).then(pl.col("correct") / pl.col("num_trials")),
        pass_rate_low=pl.Series([low for low, _ in intervals], dtype=pl.Float64),
        pass_rate_high=pl.Series([high for _, high in intervals], dtype=pl.Float64),
        other_reference=pl.Series(others, dtype=pl.String),
    ).select(list(QUESTION_FACTS))


def _contradiction(references: list[str], seconds: float) -> str:
    """Two references that are not equal, "" if all agree."""
    first = references[0]
    for other in references[1:]:
        if not answers_match(other, first, seconds=seconds):
            return f"{first} | {other}"
    return ""
