"""What is known of every ingested row before any threshold decides: one fact row per raw row.

A facts folder holds `facts-<corpus>.parquet` (FACTS), `pairs.parquet` (NEAR_DUPLICATES), `matches.parquet`
(BENCHMARK_MATCHES) and `certificate.json`, which says what was searched for and in how many rows.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from mmada.contracts.records import Schema

FACTS: Final[Schema] = {
    "row_id": pl.String,
    "corpus": pl.String,
    "source_file": pl.String,
    "file_sha256": pl.String,
    "row": pl.Int64,
    "task": pl.String,
    "kind": pl.String,
    "image_sha256": pl.String,  # "" if none
    "num_text_tokens": pl.Int64,  # prompt and response, by the run's text tokenizer
    "num_thought_words": pl.Int64,  # 0 without a thought
    "defect": pl.String,  # cot_dialects.Defect, "" if none
    "final_answer": pl.String,  # as answers.extract_answer finds it, "" if none
    "answer_correct": pl.String,  # "yes", "no" (also: not shown equal in time), "unchecked" (no gold answer)
    "loop_share": pl.Float64,  # share of the thought's (without one: the text's) words in repeated phrases
    "language_switches": pl.Int64,  # changes of script within prompt and response
    "psnr": pl.Float64,  # of the row's picture (contracts.image_codes), null without one
    "pixel_std": pl.Float64,
    "structure": pl.Float64,
    "lost_share": pl.Float64,
    "code_entropy": pl.Float64,
    "content_key": pl.String,  # equal for rows of equal task, text, reference and pixels (dedup.content_key)
    "text_key": pl.String,  # equal for rows of equal task, pixels and words (case, punctuation apart)
}

# Pairs of text keys whose texts are alike but not the same; rows of one text key are alike without being
# listed.
NEAR_DUPLICATES: Final[Schema] = {
    "text_key": pl.String,  # the smaller of the two
    "twin": pl.String,
    "similarity": pl.Float64,  # Jaccard similarity of word shingles, params.annotation's floor or more
}

# Every benchmark item found in a row.
BENCHMARK_MATCHES: Final[Schema] = {
    "row_id": pl.String,
    "benchmark": pl.String,
    "item_id": pl.String,
    "how": pl.String,  # "picture", "whole" (the item is the row's prompt or text) or "ngrams"
    "containment": pl.Float64,  # share of the item's n-grams in the row; 1.0 for "picture" and "whole"
}

FACT_RANGES: Final[Mapping[str, tuple[float | None, float | None]]] = {
    "num_thought_words": (0, None),
    "loop_share": (0.0, 1.0),
    "language_switches": (0, None),
    "psnr": (0.0, 99.0),  # image_quality.psnr ends there
    "pixel_std": (0.0, 127.5),
    "structure": (0.0, 1.0),
    "lost_share": (0.0, 1.0),
    "code_entropy": (0.0, 13.0),  # a code has 13 bits, so no picture's codes can carry more each
}
"""Fact -> smallest and largest value that it can have, whatever the row; null where it has none."""
