"""Facts of each row's text: length, form, thought, final answer and its correctness, repetition, language, keys
for duplicates.
"""

from typing import Final

import numpy as np
import polars as pl

from mmada.answers import answers_match, extract_answer
from mmada.contracts.records import Schema
from mmada.cot_dialects import Trajectory, parse_trajectory
from mmada.curation.cot_defects import ANSWERING_TASKS, find_defect
from mmada.curation.dedup import content_key, signatures
from mmada.curation.gopher import excess_repetition
from mmada.curation.languages import language_changes, language_of
from mmada.curation.personal_data import personal_data
from mmada.curation.repetition import (
    answer_loop_shares,
    copied_shares,
    loop_shares,
    script_switches,
    shared_shares,
    wordless_shares,
)
from mmada.curation.verifiability import unverifiable
from mmada.curation.words import all_text, ngrams, row_text, split_words, text_keys
from mmada.text_tokenizer import TextTokenizer

TEXT_FACTS: Final[Schema] = {
    "row_id": pl.String,
    "num_thought_words": pl.Int64,
    "prompt_share": pl.Float64,
    "defect": pl.String,
    "defect_evidence": pl.String,
    "unverifiable": pl.String,
    "final_answer": pl.String,
    "answer_correct": pl.String,
    "loop_share": pl.Float64,
    "excess_repetition": pl.Float64,
    "language": pl.String,
    "language_switches": pl.Int64,
    "personal_data": pl.String,
    "content_key": pl.String,
    "question_key": pl.String,
}
TOKEN_COUNTS: Final[Schema] = {"num_text_tokens": pl.Int64}
WORD_FACTS: Final[Schema] = {
    "words_key": pl.UInt64,  # words.text_keys of prompt and response
    "num_words": pl.Int64,
    "signature": pl.Binary,  # dedup.signatures, uint32 little-endian
}


def text_facts(rows: pl.DataFrame, *, verify_seconds: float) -> pl.DataFrame:
    """TEXT_FACTS of rows (row_id, task, prompt, response, reference, pixels_sha256).

    `verify_seconds`: wall clock of one answer comparison.
    """
    trajectories = [parse_trajectory(response) for response in rows["response"]]
    # Where there is no thought, the whole response is what may loop or change its language.
    thoughts = pl.Series([t.thought if t.has_thought else t.answer for t in trajectories], dtype=pl.String)
    answers_after = pl.Series([t.answer if t.has_thought else "" for t in trajectories], dtype=pl.String)
    has_thought = pl.Series([trajectory.has_thought for trajectory in trajectories], dtype=pl.Boolean)
    answers = [extract_answer(response) or "" for response in rows["response"]]
    correct = _check_answers(rows, trajectories, answers, verify_seconds)
    facts = rows.select(
        "row_id",
        unverifiable=unverifiable(),
        final_answer=pl.Series(answers, dtype=pl.String),
        answer_correct=pl.Series(correct, dtype=pl.String),
        content_key=pl.Series(_content_keys(rows), dtype=pl.String),
        question_key=pl.Series(_question_keys(rows), dtype=pl.String),
    )
    columns = [
        *_defects(rows, verify_seconds),
        *_repetition(rows, thoughts, has_thought, answers_after),
        *_languages(rows, thoughts, has_thought),
        personal_data(rows.select(all_text()).to_series()),
    ]
    return facts.with_columns(columns).select(list(TEXT_FACTS))


def token_counts(rows: pl.DataFrame, tokenizer: TextTokenizer) -> pl.DataFrame:
    """TOKEN_COUNTS of rows: tokens of prompt and response together, without control tokens."""
    counts = [[len(ids) for ids in tokenizer.encode_batch(rows[column].to_list())] for column in ("prompt", "response")]
    return pl.DataFrame({"num_text_tokens": list(map(sum, zip(*counts, strict=True)))}, schema=pl.Schema(TOKEN_COUNTS))


def word_facts(rows: pl.DataFrame, *, shingle: int, permutations: int) -> pl.DataFrame:
    """WORD_FACTS of rows, by which near duplicates are found. `shingle`: words of a shingle."""
    words = split_words(rows.select(row_text()).to_series())
    sketch = signatures(ngrams(words, shingle), permutations).astype("<u4")
    columns = {
        "words_key": text_keys(words),
        "num_words": words.counts,
        "signature": [line.tobytes() for line in sketch],
    }
    return pl.DataFrame(columns, schema=pl.Schema(WORD_FACTS))


def _defects(rows: pl.DataFrame, seconds: float) -> list[pl.Series]:
    findings = [find_defect(*row, seconds=seconds) for row in rows.select("task", "prompt", "response").iter_rows()]
    return [
        pl.Series("defect", [finding.defect if finding else "" for finding in findings], dtype=pl.String),
        pl.Series("defect_evidence", [finding.evidence if finding else "" for finding in findings], dtype=pl.String),
    ]


def _repetition(rows: pl.DataFrame, thoughts: pl.Series, has_thought: pl.Series, answers: pl.Series) -> list[pl.Series]:
    """`answers`: what follows a thought, "" without one."""
    words = split_words(thoughts)
    loops = np.maximum.reduce(
        [loop_shares(words), copied_shares(words), wordless_shares(thoughts), answer_loop_shares(answers)]
    )
    is_text = (rows["task"] == "lm").to_numpy()
    excess = np.zeros(rows.height)
    excess[is_text] = excess_repetition(thoughts.filter(is_text))
    return [
        pl.Series("num_thought_words", words.counts, dtype=pl.Int64) * has_thought.cast(pl.Int64),
        pl.Series("prompt_share", shared_shares(words, split_words(rows["prompt"]))) * has_thought.cast(pl.Int64),
        pl.Series("loop_share", loops),
        pl.Series("excess_repetition", excess),
    ]


def _languages(rows: pl.DataFrame, thoughts: pl.Series, has_thought: pl.Series) -> list[pl.Series]:
    pairs = list(zip(rows["prompt"], thoughts, strict=True))
    switches = pl.DataFrame({"text": thoughts}).select(script_switches(pl.col("text"))).to_series()
    # An answer without a thought may be a translation.
    prompts = [prompt if thinks else "" for prompt, thinks in zip(rows["prompt"], has_thought, strict=True)]
    changes = [language_changes(prompt, thought) for prompt, thought in zip(prompts, thoughts, strict=True)]
    return [
        pl.Series(
            "language", [language_of(thought) or language_of(prompt) for prompt, thought in pairs], dtype=pl.String
        ),
        (switches + pl.Series(changes, dtype=pl.Int64)).alias("language_switches"),
    ]


def _check_answers(rows: pl.DataFrame, trajectories: list[Trajectory], answers: list[str], seconds: float) -> list[str]:
    checked = []
    gold = rows.select("task", "response", "reference").iter_rows()
    for trajectory, answer, (task, response, reference) in zip(trajectories, answers, gold, strict=True):
        if task in ANSWERING_TASKS and not response.strip():
            checked.append("missing")
        elif task not in ANSWERING_TASKS or not reference.strip():
            checked.append("unchecked")
        elif trajectory.answer.strip() == reference.strip() or answers_match(answer, reference, seconds=seconds):
            checked.append("yes")
        else:
            checked.append("no")
    return checked


def _content_keys(rows: pl.DataFrame) -> list[str]:
    columns = rows.select("task", "prompt", "response", "reference", "pixels_sha256")
    return [content_key(*row) for row in columns.iter_rows()]


def _question_keys(rows: pl.DataFrame) -> list[str]:
    """Rows of one key ask the same question of the same picture; spacing does not count, every sign does."""
    columns = rows.select("task", "prompt", "pixels_sha256").iter_rows()
    return [content_key(task, prompt, "", "", pixels)[:16] for task, prompt, pixels in columns]
