"""Thresholds over facts: which rows are kept, and for every other row the one reason why not.

A row gets the first reason that holds, in the order of REASONS: what makes it unusable comes before what
makes it superfluous, so that a duplicate's kept twin is itself kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import polars as pl

from mmada.contracts.facts import FACTS
from mmada.contracts.records import SELECTED
from mmada.curation.cot_defects import AGAINST_THOUGHT, ANSWERING_TASKS, DEFECTS
from mmada.curation.given_scores import score

REASONS: Final[Mapping[str, str]] = {
    "contaminated": "A benchmark's item stands in the row.",
    "personal_data": "The text holds personal data of an unwanted kind (unwanted_personal_data).",
    **{name: sentence for name, sentence in DEFECTS.items() if name != AGAINST_THOUGHT},
    "thought_restates_prompt": "Too much of the thought only repeats the prompt (max_prompt_share).",
    "thought_loop": "Too much of the thought or answer repeats itself, in words or in signs (max_loop_share).",
    "thought_short": "The thought has too few words (min_thought_words).",
    "row_too_long": "Prompt and response have too many tokens (max_text_tokens).",
    "text_repetitive": "A plain text repeats itself beyond Gopher's limits (max_excess_repetition).",
    "language_switch": "The thought changes its language or script too often (max_language_switches).",
    "language_unwanted": "The row is in none of the wanted languages (languages).",
    "reference_contradictory": "The corpus gives two unequal gold answers to the row's question.",
    "question_unverifiable": "The question asks for a proof, has several parts or lacks its figure (verifiable_only).",
    "answer_missing": "There is no response.",
    "answer_wrong": "The final answer is not the gold answer (require_correct).",
    AGAINST_THOUGHT: DEFECTS[AGAINST_THOUGHT],
    "question_too_hard": "The question is surely answered correctly less often than wanted (min_pass_rate).",
    "question_too_easy": "The question is surely answered correctly more often than wanted (max_pass_rate).",
    "image_small": "The picture's file is too small (min_image_side).",
    "image_elongated": "One side of the picture is too much longer than the other (max_image_aspect).",
    "image_flat": "The picture has nearly one colour (min_pixel_std).",
    "image_noise": "The picture is noise (min_structure).",
    "image_broken": "Too much of the picture is lost (max_lost_share).",
    "image_blurred": "Nothing in the picture is sharp (max_blur).",
    "image_poor_reconstruction": "The picture's codes do not give it back (min_psnr).",
    "score_out_of_limits": "A score that was given to the row or its picture is not wanted (score_limits).",
    "duplicate_exact": "An equal row is kept.",
    "duplicate_near": "A row that is nearly equal is kept (near_duplicate).",
    "duplicate_semantic": "A row that means the same is kept, by the given embeddings (semantic_duplicate).",
    "image_near_duplicate": "The same text is kept under a picture that shows the same (image_near_duplicate).",
    "question_surplus": "Enough other rows of the same question are kept (max_rows_per_question).",
}
"""Every reason with the sentence that explains it and its threshold in params.yaml."""

TWIN_REASONS: Final = (
    "duplicate_exact",
    "duplicate_near",
    "duplicate_semantic",
    "image_near_duplicate",
    "question_surplus",
)
"""Reasons that compare kept rows with each other; their value is the row_id of the row that is kept instead."""

_PLACED: Final = ("row_id", "corpus", "source_file", "file_sha256", "row", "task", "kind", "content_key")
_COMPARED: Final = ("image_sha256", "text_key", "caption_key", "question_key")


def thresholds(
    *,
    max_text_tokens: int,
    min_thought_words: int,
    max_loop_share: float,
    max_prompt_share: float,
    max_excess_repetition: float,
    max_language_switches: int,
    languages: Sequence[str],
    verifiable_only: bool,
    require_correct: bool,
    min_pass_rate: float,
    max_pass_rate: float,
    min_pixel_std: float,
    min_structure: float,
    max_lost_share: float,
    min_image_side: int,
    max_image_aspect: float,
    max_blur: float,
    min_psnr: float,
    score_limits: Mapping[str, Mapping[str, float | None]],
    unwanted_personal_data: Sequence[str],
) -> dict[str, tuple[pl.Expr, pl.Expr]]:
    """Reason -> (whether a row fails, what of it is judged), for every reason that looks at one row alone.

    The expressions are over FACTS with `contaminated_by`. The loop limit holds for responses, not for plain text (task
    lm), whose lists and tables repeat by nature.
    """
    defects = {defect: (pl.col("defect") == defect, pl.col("defect_evidence")) for defect in DEFECTS}
    against_thought = defects.pop(AGAINST_THOUGHT)
    return {
        "contaminated": (pl.col("contaminated_by").is_not_null(), pl.col("contaminated_by")),
        "personal_data": _unwanted(unwanted_personal_data),
        **defects,
        "thought_restates_prompt": (
            (pl.col("prompt_share") > max_prompt_share) & pl.col("task").is_in(ANSWERING_TASKS),
            pl.col("prompt_share").round(4),
        ),
        "thought_loop": (
            (pl.col("loop_share") > max_loop_share) & (pl.col("task") != "lm"),
            pl.col("loop_share").round(4),
        ),
        "thought_short": (
            (pl.col("num_thought_words") > 0) & (pl.col("num_thought_words") < min_thought_words),
            pl.col("num_thought_words"),
        ),
        "row_too_long": (pl.col("num_text_tokens") > max_text_tokens, pl.col("num_text_tokens")),
        "text_repetitive": (
            pl.col("excess_repetition") > max_excess_repetition,
            pl.col("excess_repetition").round(4),
        ),
        "language_switch": (pl.col("language_switches") > max_language_switches, pl.col("language_switches")),
        "language_unwanted": (
            pl.lit(bool(languages)) & ~pl.col("language").is_in(["", *languages]),
            pl.col("language"),
        ),
        "reference_contradictory": (pl.col("other_reference") != "", pl.col("other_reference")),
        "question_unverifiable": (
            pl.lit(verifiable_only) & (pl.col("unverifiable") != "") & pl.col("task").is_in(ANSWERING_TASKS),
            pl.col("unverifiable"),
        ),
        "answer_missing": (pl.col("answer_correct") == "missing", pl.col("answer_correct")),
        "answer_wrong": (
            pl.lit(require_correct) & (pl.col("answer_correct") == "no"),
            pl.col("final_answer"),
        ),
        AGAINST_THOUGHT: against_thought,
        # By the far end of the interval: a few trials more rarely change what is surely hard or easy.
        "question_too_hard": (pl.col("pass_rate_high") < min_pass_rate, pl.col("pass_rate_high").round(4)),
        "question_too_easy": (pl.col("pass_rate_low") > max_pass_rate, pl.col("pass_rate_low").round(4)),
        "image_small": (pl.col("image_side") < min_image_side, pl.col("image_side")),
        "image_elongated": (pl.col("image_aspect") > max_image_aspect, pl.col("image_aspect").round(4)),
        "image_flat": (pl.col("pixel_std").fill_nan(0.0) < min_pixel_std, pl.col("pixel_std").round(4)),
        "image_noise": (pl.col("structure").fill_nan(0.0) < min_structure, pl.col("structure").round(4)),
        "image_broken": (pl.col("lost_share").fill_nan(1.0) > max_lost_share, pl.col("lost_share").round(4)),
        "image_blurred": (pl.col("blur").fill_nan(1.0) > max_blur, pl.col("blur").round(4)),
        "image_poor_reconstruction": (pl.col("psnr").fill_nan(0.0) < min_psnr, pl.col("psnr").round(4)),
        "score_out_of_limits": _out_of_limits(score_limits),
    }


def _out_of_limits(limits: Mapping[str, Mapping[str, float | None]]) -> tuple[pl.Expr, pl.Expr]:
    """Whether a given score fails its limit, and the first one that does, or else all that have a limit."""
    if not limits:
        return pl.lit(value=False), pl.lit("")
    failed, shown = [], []
    for name, limit in limits.items():
        value = score(name)
        low, high = limit["min"], limit["max"]
        is_low = value < low if low is not None else pl.lit(value=False)
        is_high = value > high if high is not None else pl.lit(value=False)
        failed.append((is_low | is_high | value.is_nan()).fill_null(value=False))
        shown.append(pl.format("{} {}", pl.lit(name), value.round_sig_figs(6)))
    first = pl.coalesce(pl.when(fails).then(told) for fails, told in zip(failed, shown, strict=True))
    return pl.any_horizontal(failed), pl.coalesce(first, pl.concat_str(shown, separator=", ", ignore_nulls=True))


def _unwanted(kinds: Sequence[str]) -> tuple[pl.Expr, pl.Expr]:
    """Whether a text holds one of these kinds of personal data, and all kinds that it holds."""
    found = pl.col("personal_data")
    return pl.any_horizontal(pl.lit(value=False), *(found.str.contains(kind, literal=True) for kind in kinds)), found


def contaminated_by(matches: pl.DataFrame) -> pl.Expr:
    """`contaminated_by`: the benchmark items in a row (BENCHMARK_MATCHES), null without one."""
    held = matches.group_by("row_id").agg(items=pl.concat_str("benchmark", pl.lit("/"), "item_id").sort().str.join(" "))
    # A join would copy every column.
    found = pl.col("row_id").replace_strict(held["row_id"], held["items"], default=None, return_dtype=pl.String)
    return found.alias("contaminated_by")


def decide(
    facts: Iterable[pl.DataFrame],
    pairs: pl.DataFrame,
    matches: pl.DataFrame,
    *,
    picture_pairs: pl.DataFrame,
    semantic_keys: pl.DataFrame,
    semantic_pairs: pl.DataFrame,
    near_duplicate: float,
    semantic_duplicate: float,
    image_near_duplicate: float,
    max_rows_per_question: int,
    leave_out: Sequence[str],
    **limits: Any,
) -> pl.DataFrame:
    """What says which row it is, `reason` (one of REASONS, "" = kept), `value` (what failed) and `holds_personal_data`,
    in order of row_id and origin.

    facts: contracts.facts.FACTS of all corpora, in parts; pairs: NEAR_DUPLICATES; matches: BENCHMARK_MATCHES;
    picture_pairs, semantic_keys, semantic_pairs: the tables of those names in contracts.facts; `leave_out`: reasons
    for which no row is dropped; `limits`: those of `thresholds`.
    """
    checks = {name: check for name, check in thresholds(**limits).items() if name not in leave_out}
    reason = pl.coalesce([pl.when(failed).then(pl.lit(name)) for name, (failed, _) in checks.items()])
    value = pl.coalesce([pl.when(failed).then(shown.cast(pl.String)) for failed, shown in checks.values()])
    found = contaminated_by(matches)
    judged = (
        part.with_columns(found).select(
            *_PLACED,
            *_COMPARED,
            reason=reason.fill_null(""),
            value=value.fill_null(""),
            holds_personal_data=pl.col("personal_data") != "",
        )
        for part in chain([pl.DataFrame(schema=pl.Schema(FACTS))], facts)
    )
    rows = _sorted(pl.concat(judged), "row_id", "corpus", "source_file", "row")
    if "duplicate_exact" not in leave_out:
        rows = _mark_exact_duplicates(rows)
    if "duplicate_near" not in leave_out:
        rows = _mark_alike(rows, "duplicate_near", "text_key", pairs.filter(pl.col("similarity") >= near_duplicate))
    if "duplicate_semantic" not in leave_out and not semantic_keys.is_empty():
        keyed = rows.join(semantic_keys, on="row_id", how="left", maintain_order="left")
        alike = semantic_pairs.filter(pl.col("similarity") >= semantic_duplicate)
        rows = _mark_alike(keyed, "duplicate_semantic", "semantic_key", alike).drop("semantic_key")
    if "image_near_duplicate" not in leave_out:
        rows = _mark_near_pictures(rows, picture_pairs.filter(pl.col("similarity") >= image_near_duplicate))
    if max_rows_per_question and "question_surplus" not in leave_out:
        rows = _mark_surplus(rows, max_rows_per_question)
    return rows.drop(_COMPARED)


def _sorted(rows: pl.DataFrame, *by: str) -> pl.DataFrame:
    """`rows.sort(*by)`, column by column, which `rows` loses: of a million rows `sort` holds 0.3 GB more."""
    order = rows.select(pl.arg_sort_by(*by)).to_series()
    return pl.DataFrame({name: rows.drop_in_place(name).gather(order) for name in rows.columns})


def kept_rows(decided: pl.DataFrame) -> pl.DataFrame:
    """SELECTED: the kept rows of `decide`, each with the origins of all its exact duplicates."""
    origin = ("corpus", "source_file", "file_sha256", "row")
    same_content = (
        decided.filter(pl.col("reason").is_in(["", "duplicate_exact"]))
        .select("content_key", *origin)
        .sort("corpus", "source_file", "row")
        .group_by("content_key")
        .agg(origins=pl.struct(origin))
    )
    kept = decided.filter(reason="").join(same_content, on="content_key", how="left", maintain_order="left")
    # More than 0 only where exact duplicates are kept (leave_out): their samples need keys of their own.
    ordinal = pl.int_range(pl.len(), dtype=pl.Int64).over("row_id")
    return kept.with_columns(ordinal=ordinal).select(list(SELECTED))


def _mark_exact_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    """All but the first row of each content, among rows that nothing else is wrong with."""
    alive = rows.with_row_index("position").filter(reason="").select("position", "row_id", "content_key")
    is_first = alive["content_key"].is_first_distinct()
    first = alive.filter(is_first).select("content_key", twin="row_id")
    return _mark(rows, "duplicate_exact", alive.filter(~is_first).join(first, on="content_key", how="left"))


def _mark_alike(rows: pl.DataFrame, reason: str, name: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """In order of row_id, every row whose key (column `name`, null if none) is that of a row already kept, or a twin of
    it.
    """
    alike = _twins(pairs, name)
    alive = (
        rows.with_row_index("position").filter(pl.col(name).is_not_null(), reason="").select("position", "row_id", name)
    )
    affected = alive.filter(pl.col(name).is_duplicated() | pl.col(name).is_in(list(alike)))
    kept: dict[str, str] = {}  # key -> row_id of the row kept with it
    dropped: dict[int, str] = {}
    for place, row_id, own in affected.iter_rows():
        twins = [kept[key] for key in sorted({own} | alike.get(own, set())) if key in kept]
        if twins:
            dropped[place] = min(twins)
        else:
            kept[own] = row_id
    return _mark(rows, reason, _marked(dropped))


def _mark_near_pictures(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """In order of row_id, every row whose text a row already kept has under a picture that shows the same."""
    alike = _twins(pairs, "image_sha256")
    alive = rows.with_row_index("position").filter((pl.col("reason") == "") & pl.col("image_sha256").is_in(list(alike)))
    kept: dict[tuple[str, str], str] = {}  # caption key, picture -> row_id of the row kept with them
    dropped: dict[int, str] = {}
    for place, row_id, caption, image in alive.select("position", "row_id", "caption_key", "image_sha256").iter_rows():
        twins = [kept[caption, twin] for twin in alike[image] if (caption, twin) in kept]
        if twins:
            dropped[place] = min(twins)
        else:
            kept[caption, image] = row_id
    return _mark(rows, "image_near_duplicate", _marked(dropped))


def _mark_surplus(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """In order of row_id, all but the first rows of each answered question, among rows that nothing else is wrong
    with: easy questions have more right answers, and would outweigh the hard ones.
    """
    alive = rows.with_row_index("position").filter((pl.col("reason") == "") & pl.col("task").is_in(ANSWERING_TASKS))
    number = pl.int_range(pl.len()).over("question_key")
    first = pl.col("row_id").first().over("question_key")
    return _mark(rows, "question_surplus", alive.with_columns(twin=first).filter(number >= most))


def _twins(pairs: pl.DataFrame, name: str) -> dict[str, set[str]]:
    """All twins of each entry of column `name`."""
    alike: dict[str, set[str]] = defaultdict(set)
    for left, right in pairs.select(name, "twin").iter_rows():
        alike[left].add(right)
        alike[right].add(left)
    return alike


def _marked(dropped: Mapping[int, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"position": list(dropped), "twin": list(dropped.values())},
        schema={"position": pl.UInt32, "twin": pl.String},
    )


def _mark(rows: pl.DataFrame, reason: str, marked: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `reason`, and the twin's row_id as value, where `marked` (position, twin) says so."""
    again = pl.col("twin").is_not_null()
    return (
        rows.with_row_index("position")
        .join(marked.select("position", "twin"), on="position", how="left", maintain_order="left")
        .with_columns(
            reason=pl.when(again).then(pl.lit(reason)).otherwise("reason"),
            value=pl.when(again).then("twin").otherwise("value"),
        )
        .drop("position", "twin")
    )
