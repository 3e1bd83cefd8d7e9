"""What is known of every ingested row before any threshold decides: one fact row per raw row.

A facts folder holds a folder per corpus with a part `facts-*.parquet` (STORED_FACTS) for each part of records that
ingest made, and its `files.parquet`; `pairs.parquet` (NEAR_DUPLICATES), `picture_pairs.parquet` (PICTURE_PAIRS),
`semantic_keys.parquet` (SEMANTIC_KEYS) and `semantic_pairs.parquet` (SEMANTIC_PAIRS), `matches.parquet`
(BENCHMARK_MATCHES), `questions.parquet` (QUESTION_FACTS) and `certificate.json`, which says what was searched for and
in which rows.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.ingested import same_part, with_files
from mmada.contracts.records import Schema
from mmada.contracts.tables import read_table

# Given scores by their names (curation.given_scores).
SCORES: Final = pl.List(pl.Struct({"name": pl.String, "value": pl.Float64}))

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
    "prompt_share": pl.Float64,  # share of the thought's words in phrases of the prompt, 0 without a thought
    "defect": pl.String,  # one of cot_defects.DEFECTS, "" if none
    "defect_evidence": pl.String,  # the piece of text that shows it
    "unverifiable": pl.String,  # why the question has no answer to compare (verifiability), "" if it has one
    "final_answer": pl.String,  # as answers.extract_answer finds it, "" if none
    "answer_correct": pl.String,  # "yes", "no" (also: not shown equal in time), "missing" (no response), "unchecked"
    "loop_share": pl.Float64,  # share of the thought or answer, the larger one, in repeated phrases or endless signs
    "excess_repetition": pl.Float64,  # plain text: largest ratio to a limit of Gopher's (gopher.LIMITS), else 0
    "language": pl.String,  # ISO 639-1 code of the thought or else the prompt, "" where they hold too few words
    "language_switches": pl.Int64,  # changes of language from prompt through thought (without one: within the text)
    "psnr": pl.Float64,  # of the row's picture (contracts.image_codes), null without one
    "pixel_std": pl.Float64,
    "structure": pl.Float64,
    "lost_share": pl.Float64,
    "code_entropy": pl.Float64,
    "image_side": pl.Int64,
    "image_aspect": pl.Float64,
    "blur": pl.Float64,
    "scores": SCORES,  # of the row or its picture, [] if none
    "personal_data": pl.String,  # kinds (params_data.PersonalData) in the text, with blanks between them, "" if none
    "content_key": pl.String,  # equal for rows of equal task, text, reference and pixels (dedup.content_key)
    "question_key": pl.String,  # equal for rows that ask the same question of the same picture
    "num_trials": pl.Int64,  # distinct rows of the question whose answer is "yes" or "no", 0 or null if none
    "pass_rate": pl.Float64,  # share of them that is correct, with its 95 % interval
    "pass_rate_low": pl.Float64,
    "pass_rate_high": pl.Float64,
    "other_reference": pl.String,  # two references of the question that are not equal, "" if all agree
    "text_key": pl.String,  # equal for rows of equal task, pixels and words (case, punctuation apart)
    "caption_key": pl.String,  # equal for rows of equal task and words, whatever their picture
}

# What the rows of one question say together; questions without a checked row have no line.
QUESTION_FACTS: Final[Schema] = {
    "question_key": pl.String,
    "num_trials": pl.Int64,
    "pass_rate": pl.Float64,
    "pass_rate_low": pl.Float64,
    "pass_rate_high": pl.Float64,
    "other_reference": pl.String,
}

STORED_FACTS: Final[Schema] = {
    name: kind for name, kind in FACTS.items() if name == "question_key" or name not in {"file_sha256", *QUESTION_FACTS}
}
"""As they are stored: a file's sha256, and what is known of a question, change when rows are appended, facts of
earlier rows do not.
"""

# Pairs of text keys whose texts are alike but not the same; rows of one text key are alike without being
# listed.
NEAR_DUPLICATES: Final[Schema] = {
    "text_key": pl.String,  # the smaller of the two
    "twin": pl.String,
    "similarity": pl.Float64,  # Jaccard similarity of word shingles, params.annotation's floor or more
}

# Pictures that show the same with other pixels (curation.alike_pictures), by the sha256 of their bytes.
PICTURE_PAIRS: Final[Schema] = {
    "image_sha256": pl.String,  # the smaller of the two
    "twin": pl.String,
    "similarity": pl.Float64,  # one less the largest difference of a part's colours; params.annotation's floor or more
}

# Rows that have an embedding (params.annotation.embeddings). Equal for rows of equal task and embedding.
SEMANTIC_KEYS: Final[Schema] = {"row_id": pl.String, "semantic_key": pl.String}

# Pairs of semantic keys whose embeddings are alike but not the same.
SEMANTIC_PAIRS: Final[Schema] = {
    "semantic_key": pl.String,  # the smaller of the two
    "twin": pl.String,
    "similarity": pl.Float64,  # cosine, params.annotation's floor or more
}

# Every benchmark item found in a row.
BENCHMARK_MATCHES: Final[Schema] = {
    "row_id": pl.String,
    "benchmark": pl.String,
    "item_id": pl.String,
    "how": pl.String,  # "picture", "whole" (the item is the row's prompt or text), "ngrams" or "sentence"
    "containment": pl.Float64,  # share of the item's n-grams in the row; 1.0 unless it was found by "ngrams"
}

_PARTS_AT_A_TIME: Final = 20
"""Parts of facts that are joined with what is known of all questions."""

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


def facts_part(corpus: str, records: Path) -> str:
    """Name of the part of facts, below the facts folder, of a part of records."""
    return f"{corpus}/{same_part(records, 'facts')}"


def facts_parts(folder: Path) -> list[Path]:
    """All parts of a facts folder, in order of corpora, files and rows."""
    return sorted(folder.glob("*/facts-*.parquet"))


def read_facts(folder: Path) -> Iterator[pl.DataFrame]:
    """Facts of all rows (FACTS), a few parts at a time, in order of corpora, files and rows.

    Raises as contracts.tables.read_table.
    """
    questions = read_table(folder / "questions.parquet", QUESTION_FACTS, "facts of questions")
    for corpus, parts in groupby(facts_parts(folder), lambda part: part.parent):
        where = f"facts of {corpus.name}"
        while some := list(islice(parts, _PARTS_AT_A_TIME)):
            placed = with_files(pl.concat(read_table(part, STORED_FACTS, where) for part in some), corpus, where)
            yield with_questions(placed, questions)[list(FACTS)]


def with_questions(rows: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """`rows` (question_key, ...) with QUESTION_FACTS of the question that each asks."""
    joined = rows.join(questions, on="question_key", how="left", validate="m:1", maintain_order="left")
    return joined.with_columns(pl.col("other_reference").fill_null(""))
