"""Facts of each row's text: length, thought, final answer and its correctness, repetition, language, keys for
duplicates.
"""

from typing import Final

import polars as pl

from mmada.answers import answers_match, extract_answer
from mmada.contracts.records import Schema
from mmada.curation.cot_dialects import Trajectory, parse_trajectory
from mmada.curation.dedup import content_key, signatures
from mmada.curation.repetition import loop_shares, script_switches
from mmada.curation.words import ngrams, row_text, split_words, text_keys
from mmada.text_tokenizer import TextTokenizer

# One row per distinct row_id, as `text_facts` gives them.
TEXT_FACTS: Final[Schema] = {
    "row_id": pl.String,
    "num_text_tokens": pl.Int64,
    "num_thought_words": pl.Int64,
    "defect": pl.String,
    "final_answer": pl.String,
    "answer_correct": pl.String,
    "loop_share": pl.Float64,
    "language_switches": pl.Int64,
    "content_key": pl.String,
    "words_key": pl.UInt64,  # words.text_keys of prompt and response
    "num_words": pl.Int64,
    "signature": pl.Binary,  # dedup.signatures, uint32 little-endian
}

_ANSWERING_TASKS: Final = ("chat", "mmu")
"""Tasks whose reference is a final answer in words or numbers; that of a drawing task describes its picture.
"""


def text_facts(
    rows: pl.DataFrame, tokenizer: TextTokenizer, *, verify_seconds: float, shingle: int, permutations: int
) -> pl.DataFrame:
    """TEXT_FACTS of rows (row_id, task, prompt, response, reference, pixels_sha256).

    `verify_seconds`: wall clock of one answer comparison. `shingle`: words of a shingle for near duplicates.
    """
    trajectories = [parse_trajectory(response) for response in rows["response"]]
    texts = rows.select(row_text()).to_series()
    # Where there is no thought, the whole response is what may loop.
    thoughts = split_words(pl.Series([t.thought if t.has_thought else t.answer for t in trajectories], dtype=pl.String))
    words = split_words(texts)
    answers = [extract_answer(response) or "" for response in rows["response"]]
    has_thought = pl.Series([trajectory.has_thought for trajectory in trajectories], dtype=pl.Boolean)
    sketch = signatures(ngrams(words, shingle), permutations).astype("<u4")
    facts = rows.select("row_id").with_columns(
        num_text_tokens=pl.Series(_num_tokens(rows, tokenizer), dtype=pl.Int64),
        num_thought_words=pl.Series(thoughts.counts, dtype=pl.Int64) * has_thought.cast(pl.Int64),
        defect=pl.Series([trajectory.defect or "" for trajectory in trajectories], dtype=pl.String),
        final_answer=pl.Series(answers, dtype=pl.String),
        answer_correct=pl.Series(_check_answers(rows, trajectories, answers, verify_seconds), dtype=pl.String),
        loop_share=pl.Series(loop_shares(thoughts), dtype=pl.Float64),
        language_switches=pl.DataFrame({"text": texts}).select(script_switches(pl.col("text"))).to_series(),
        content_key=pl.Series(_content_keys(rows), dtype=pl.String),
        words_key=pl.Series(text_keys(words), dtype=pl.UInt64),
        num_words=pl.Series(words.counts, dtype=pl.Int64),
        signature=pl.Series([line.tobytes() for line in sketch], dtype=pl.Binary),
    )
    return facts.select(list(TEXT_FACTS))


def _num_tokens(rows: pl.DataFrame, tokenizer: TextTokenizer) -> list[int]:
    """Tokens of prompt and response together, without control tokens."""
    counts = [[len(ids) for ids in tokenizer.encode_batch(rows[column].to_list())] for column in ("prompt", "response")]
    return [prompt + response for prompt, response in zip(*counts, strict=True)]


def _check_answers(rows: pl.DataFrame, trajectories: list[Trajectory], answers: list[str], seconds: float) -> list[str]:
    checked = []
    gold = rows.select("task", "reference").iter_rows()
    for trajectory, answer, (task, reference) in zip(trajectories, answers, gold, strict=True):
        if task not in _ANSWERING_TASKS or not reference.strip():
            checked.append("unchecked")
        elif trajectory.answer.strip() == reference.strip() or answers_match(answer, reference, seconds=seconds):
            checked.append("yes")
        else:
            checked.append("no")
    return checked


def _content_keys(rows: pl.DataFrame) -> list[str]:
    columns = rows.select("task", "prompt", "response", "reference", "pixels_sha256")
    return [content_key(*row) for row in columns.iter_rows()]
